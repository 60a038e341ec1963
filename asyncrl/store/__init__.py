"""Files: checkpoints, JSON, reports; whole ones or none.

    checkpoint      a folder of arrays and JSON, with its manifest
    array_files     safetensors, written and read without a copy in memory
    json_files      standard JSON, replaced at once
    growing_files   files that grow by whole pieces
    durable_files   a file is there with its whole content, or not at all
"""
