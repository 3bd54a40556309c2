"""A web page on this machine that shows a stage, read with the person's own AWS credentials."""
