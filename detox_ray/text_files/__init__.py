"""Files of texts, without an experiment: kept Perspective answers, scores by any scorer, agreement of two scorers.

    text_rows.py        the rows of JSON Lines, CSV and Parquet files: text, language, columns to keep
    archive.py          `detox-ray archive`: ask Perspective for each distinct text once, and keep its whole answers
    archive_folder.py   what an archive is on disk: Parquet parts, and a journal of the newest answers
    inventory.py        what files hold and an archive lacks, before anything is asked
    finish_time.py      when an archive ends, and whether the service still runs then
    score_file.py       `detox-ray score-file`: every row of a file through any scorers, in resumable units
    file_units.py       from a file's rows to units of texts by language
    score_tables.py     the tables of a file on its way: rows, texts by language, scores
    file_workers.py     what makes its units, in this process or on a cluster
    scored_file.py      the file of scores that comes out, and what it says of its scorers
    scorer_options.py   what --scorer takes
    agreement.py        `detox-ray agreement`: what changes if one scorer replaces another
    text_scores.py      one scorer's values by text, from an archive, a file of scores, or a run

Light on import: Ray, torch and models are imported only when they are used.
"""
