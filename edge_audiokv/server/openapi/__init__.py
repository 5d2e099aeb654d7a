"""What the server takes and tells over HTTP, as an OpenAPI 3.1 document.

It is made of the tables that requests are read by, so that a field which is honoured or refused is
described as that.
"""
