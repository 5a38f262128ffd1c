"""The ledger: which runs make each table and figure of the papers, and the records of them."""
