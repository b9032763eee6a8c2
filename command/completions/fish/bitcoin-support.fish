# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_bitcoin_support_global_optspecs
    string join \n h/help V/version
end

function __fish_bitcoin_support_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_bitcoin_support_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_bitcoin_support_using_subcommand
    set -l cmd (__fish_bitcoin_support_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c bitcoin-support -n "__fish_bitcoin_support_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bitcoin-support -n "__fish_bitcoin_support_needs_command" -s V -l version -d 'Print version'
complete -c bitcoin-support -n "__fish_bitcoin_support_needs_command" -f -a "check" -d 'Inspects this host'
complete -c bitcoin-support -n "__fish_bitcoin_support_needs_command" -f -a "inspect" -d 'Inspects the locked memory of running processes'
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand check" -l memlock -d 'How much a program should be able to lock' -r
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand check" -l json -d 'Report as JSON'
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand inspect" -l all -d 'All processes that have locked memory, in a table'
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand inspect" -l all-regions -d 'A row for each region, however many there are'
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand inspect" -l json -d 'Report as JSON'
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand inspect" -s h -l help -d 'Print help (see more with \'--help\')'
