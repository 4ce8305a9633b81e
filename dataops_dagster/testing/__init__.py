"""Parts for your own tests. Never imported by the rest of the package."""
