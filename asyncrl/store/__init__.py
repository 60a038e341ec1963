"""Files of a run: checkpoints, JSON and reports. A file is written completely or not at all.

    checkpoint      a folder of arrays and JSON, with a manifest
    array_files     safetensors files, written and read without a copy in memory
    json_files      standard JSON, replaced atomically
    growing_files   files to which complete pieces are appended
    durable_files   writing a file atomically and syncing it to disk
"""
