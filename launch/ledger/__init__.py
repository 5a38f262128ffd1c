"""The ledger: which runs make up each table and figure of the papers, and their records."""
