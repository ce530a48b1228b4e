#!/bin/bash
# Docker's health check of the image: what listens must answer, the service (8000) and a node of Ray (52365).
# A container that carries out a run listens nowhere: it is healthy as long as it runs.
for place in "${1:-8000}/healthz" "${2:-52365}/api/local_raylet_healthz"; do
  (exec 3<>"/dev/tcp/127.0.0.1/${place%%/*}") 2>/dev/null || continue
  wget --quiet --tries=1 --timeout=5 --output-document=/dev/null "http://127.0.0.1:$place" || exit 1
done
