"""The web pages, and their data and files."""
