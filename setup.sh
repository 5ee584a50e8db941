#!/bin/sh
# Make the virtual environment: `sh setup.sh .venv`. Run by `make setup`.
set -eu
venv=${1:-.venv}
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "text3d-bench needs Python 3.10 or newer; $python is $("$python" --version 2>&1). Give another: make PYTHON=python3.11 ..." >&2
    exit 1
}

if "$python" -c 'import torch' 2>/dev/null; then
    # A board's vendor torch (JetPack, NGC) is used as it is. pip must not see a reason to replace it, so what
    # requires torch comes without its requirements, and no constraint names torch.
    echo "using the torch of $python: $("$python" -c 'import torch; print(torch.__version__)')"
    "$python" -m venv --system-site-packages "$venv"
    grep -v -E '^(torch|torchvision)==' constraints.txt > "$venv/constraints.txt"
    "$venv/bin/python" -m pip install -q -c "$venv/constraints.txt" -e ".[vendor-torch,dev]"
    "$venv/bin/python" -m pip install -q -c "$venv/constraints.txt" --no-deps open_clip_torch timm
    "$venv/bin/python" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("torchvision"))' ||
        "$venv/bin/python" -m pip install -q --no-deps torchvision # its Python part is enough
else
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install -q -c constraints.txt -e ".[torch,dev,onnx]"
fi
