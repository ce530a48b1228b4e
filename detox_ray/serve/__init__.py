"""Serving: the models of an experiment over HTTP, with Ray Serve: completions, comparison, scoring, web pages.

    spec.py          what to serve: engines, scorers, example prompts, from a run or from names and paths    no Ray
    launch.py        `detox-ray serve`: start everything, and answer until stopped
    local_scoring.py scorers without a model, in the gateway's process                                       no Ray
    app.py           the Ray Serve application: a gateway, a deployment per engine, one for scoring
    manifests.py     the same application as files, for `serve deploy` and KubeRay                           no Ray
    fastapi_app.py   the web application: the routes of all rooms and the middlewares around them
    http/            what the routes share: gateway, admission, keys, limits, errors, log, metrics, server
    openai/  perspective/  compare/  pages/     the routes and their wire formats
    workers/         what runs in Ray Serve's replicas: vLLM engines, scoring

Light on import: Ray, vLLM, torch and FastAPI are imported only by the modules that use them.
"""
