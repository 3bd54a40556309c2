"""No handlers: for a stage that only records, beside what you have. docs/adopting.md"""
