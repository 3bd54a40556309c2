"""The documentation as a site: what is in ``docs/``, and what code and contracts say of themselves."""
