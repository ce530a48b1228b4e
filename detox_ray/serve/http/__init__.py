"""HTTP without routes: the gateway that routes share, admission, keys, limits, errors, log, metrics, the server."""
