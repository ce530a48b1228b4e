"""The common parts of all routes: the gateway, admission, keys, limits, errors, the log, metrics and the server."""
