#!/bin/sh
# Inside the virtual machine: installs the wheel and runs the tests with it.
cd /project || exit
# Of the plug-ins only what is used here is loaded: all is slow in a machine that is emulated.
export MEETME_TEST_MACHINE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
export PATH=/opt/meetme/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PYTHONDONTWRITEBYTECODE=1 COLUMNS=120
# As at the machine's own start; a filter for bridges is what other programs may have brought.
modprobe -a 8021q br_netfilter
echo "Linux $(uname -r), $(systemctl --version | head -n 1), up for $(cut -d. -f1 /proc/uptime) s; installing $(echo ./*.whl)"
pip install --quiet --disable-pip-version-check --no-index --no-deps ./*.whl
set --
while IFS= read -r word; do set -- "$@" "$word"; done <arguments
[ $# -gt 0 ] || set -- tests/live/test_fabric_vlan.py
status=0
python -m pytest -p pytest_asyncio.plugin -p pytest_timeout -p no:cacheprovider --timeout=900 --verbose -rs --durations=10 --color="$(cat colour)" "$@" || status=$?
echo "tests in Linux $(uname -r) ended with $status"
