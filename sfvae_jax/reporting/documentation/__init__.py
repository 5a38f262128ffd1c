"""The generated parts of README.md and docs/: blocks in pages, tables of options and of specs."""
