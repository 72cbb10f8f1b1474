# Read at the end of ~/.bashrc on the nodes of a cluster (jobs/node.sh). It acts only in the shells of Ray's cluster
# launcher: so `ray down` finds `ray`, `ray submit` finds `python`, and commands have the cluster's token.
case ${BASH_EXECUTION_STRING-} in
    *'source ~/.bashrc; export OMP_NUM_THREADS=1'*)
        PATH=~/rank-shards/.venv/bin:$PATH
        export RAY_AUTH_MODE=token
        # `ray up` begins with uptime, also where it then changes nothing. The time of this file says when that was.
        case $BASH_EXECUTION_STRING in
            *'(uptime)') : >~/.rank-shards-up ;;
        esac
        ;;
esac
