"""HTTP on both of its ends: connections, heads, keys, sockets, and links to model servers."""
