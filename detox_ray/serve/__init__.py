"""Serving: the models of an experiment behind HTTP, with Ray Serve: completions, comparison, scoring, web pages.

    served.py    what is served: engines, scorers, example prompts, from a run or from names and paths    no Ray
    app.py       the Ray Serve application: one gateway, an engine per model (or per family), one scoring deployment
    gateway.py   HTTP: routes, and nothing else
    engine.py    one vLLM engine, with vLLM's own OpenAI-compatible serving
    scoring.py   the scorers and the language identifier, batched

Light on import: Ray, vLLM, torch and FastAPI are imported only where they are used.
"""
