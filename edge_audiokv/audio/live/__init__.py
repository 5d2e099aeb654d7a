"""Sound as it happens: microphones, what is kept of them, and the pace of a file played live."""
