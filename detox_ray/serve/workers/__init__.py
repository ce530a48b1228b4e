"""The Ray Serve deployments behind the gateway: engines and scoring."""
