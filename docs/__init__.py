"""The documents, and what makes them: parts that are generated, and the site."""
