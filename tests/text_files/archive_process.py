"""`python archive_process.py FILE OUT URL`: an archive in a process that can be killed, without the command line."""

import signal
import sys
from pathlib import Path

from detox_ray.cluster import interrupt
from detox_ray.cluster.progress import Progress
from detox_ray.score.variants.perspective import PerspectiveConfig
from detox_ray.text_files import archive
from detox_ray.text_files.inventory import ArchiveRequest

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt.handler)
    file, out, url = sys.argv[1:]
    service = PerspectiveConfig(
        name="archive", type="perspective", url=url, attributes=["toxicity", "insult"], queries_per_second=400.0
    )
    outcome = archive.run(ArchiveRequest([Path(file)], out, service), Progress())
    print(outcome.repeated)
    sys.exit(3 if outcome.unanswered else 0)
