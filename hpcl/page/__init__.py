"""The map for the browser: all areas on one self-contained page, where a mapper looks at candidates and decides."""
