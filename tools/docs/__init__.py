"""The site's build: what of it is generated from the code, and how pages are put together."""
