"""The operator's calls. `operations` lists them; `requests` and `answers` are their wire format."""
