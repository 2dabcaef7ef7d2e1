"""Serval for browsers and other programs: HTTP, sockets and a page, and who may use them."""
