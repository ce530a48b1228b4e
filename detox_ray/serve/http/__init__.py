"""What all routes share: the gateway, admission, keys, limits, errors, the log, metrics and the server."""
