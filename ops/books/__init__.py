"""The books: every movement of money as a line, what they add up to, and files of them."""
