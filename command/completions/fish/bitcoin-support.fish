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
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand check" -l format -d 'Text for people, JSON, or metrics for Prometheus' -r -f -a "text\t''
json\t''
prometheus\t''"
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand check" -l output -d 'Write to a file, which is replaced as a whole' -r -F
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand check" -l color -d 'Whether severities have colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand check" -l watch -d 'Report again and again' -r
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand check" -l print-unit -d 'Print a drop-in for the program\'s systemd unit'
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand check" -l print-container -d 'Print options for docker run and podman run'
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand check" -l json -d 'The same as --format json'
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand inspect" -l format -d 'Text for people, JSON, or metrics for Prometheus' -r -f -a "text\t''
json\t''
prometheus\t''"
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand inspect" -l output -d 'Write to a file, which is replaced as a whole' -r -F
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand inspect" -l color -d 'Whether severities have colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand inspect" -l watch -d 'Report again and again' -r
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand inspect" -l all -d 'All processes that have locked memory, in a table'
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand inspect" -l all-regions -d 'A row for each region, however many there are'
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand inspect" -l json -d 'The same as --format json'
complete -c bitcoin-support -n "__fish_bitcoin_support_using_subcommand inspect" -s h -l help -d 'Print help (see more with \'--help\')'
