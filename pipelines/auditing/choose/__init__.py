"""Which recordings an audit looks at."""
