#!/bin/busybox sh
# PID 1 for architectures that leanfs's own (init/) wasn't built for: it does the same with the same
# /etc/leanfs/init.conf and the same kernel command line, whose format is described in src/layer/init_conf.rs.
# It needs /bin/busybox and none of its links. What differs: argv[0] is always the program's path; it is never the way to
# a root file system nor the first program of a container; it knows of data by the name of a device, its label or its
# UUID, and takes no words from SMBIOS.
# Nothing here may end this shell, because the kernel panics then: no `set -e`, and no special built-in that can
# fail.

bb=/bin/busybox
conf=/etc/leanfs/init.conf
newline='
'
# Words are separated by spaces only, and no word is a pattern.
IFS=' '
set -f

say() {
	printf '%s\n' "leanfs-init: $*"
}

# mount_at KIND TARGET OPTIONS
mount_at() {
	[ -d "$2" ] || $bb mkdir -p "$2"
	$bb mountpoint -q "$2" && return
	$bb mount -t "$1" -o "$3" "$1" "$2" || say "$1 can't be mounted at $2"
}

# device NAME MODE MAJOR MINOR
device() {
	[ -c "/dev/$1" ] || $bb mknod -m "$2" "/dev/$1" c "$3" "$4" || say "/dev/$1 is not there and can't be made"
}

# unescape WORD: leaves it in $plain; fails when a backslash in it means nothing.
unescape() {
	plain=
	left=$1
	while :; do
		case $left in
		*\\*) ;;
		*)
			plain=$plain$left
			return 0
			;;
		esac
		plain=$plain${left%%\\*}
		left=${left#*\\}
		case $left in
		\\*) plain=$plain\\ ;;
		n*) plain=$plain$newline ;;
		s*) plain="$plain " ;;
		e*) ;;
		*) return 1 ;;
		esac
		left=${left#?}
	done
}

# read_words TEXT: counts its words in $count and leaves the first two in $first and $second.
read_words() {
	count=0
	first=
	second=
	for word in $1; do
		unescape "$word" || return 1
		count=$((count + 1))
		case $count in
		1) first=$plain ;;
		2) second=$plain ;;
		esac
	done
}

# read_line: takes a line of the configuration apart: $key and $words. Fails for one that says nothing.
read_line() {
	while :; do
		case $line in
		' '*) line=${line# } ;;
		*) break ;;
		esac
	done
	case $line in
	'' | '#'*) return 1 ;;
	*' '*)
		key=${line%% *}
		words=${line#* }
		;;
	*)
		key=$line
		words=
		;;
	esac
}

# mount_data DEVICE PATH: waits for it, at most 30 s. Without it nothing may start: what it wrote would be lost.
mount_data() {
	tries=0
	[ -d "$2" ] || $bb mkdir -p "$2"
	until $bb mount -t ext4 -o nosuid,nodev,noatime "$1" "$2" 2>/dev/null; do
		tries=$((tries + 1))
		if [ $tries -gt 300 ]; then
			say "the data ($1) can't be mounted at $2: is its disk given to the machine?"
			end=${option_on_exit:-poweroff}
			switch_off
		fi
		$bb sleep 0.1
	done
	data=$2
}

switch_off() {
	$bb sync
	case $end in
	reboot) $bb reboot -f ;;
	halt) $bb halt -f ;;
	*) $bb poweroff -f ;;
	esac
	# The kernel couldn't, and PID 1 must not end.
	while :; do
		$bb sleep 60
	done
}

ignored() {
	say "line $number of $conf is ignored: $1"
}

# option WORD: one word of the kernel's command line.
option() {
	case $1 in
	leanfs.ip=*) ip=${1#*=} ;;
	leanfs.hostname=*) option_hostname=${1#*=} ;;
	leanfs.env=?*=*) option_env=$option_env${1#*=}$newline ;;
	leanfs.data=?*) option_data=${1#*=} ;;
	leanfs.on-exit=poweroff | leanfs.on-exit=reboot | leanfs.on-exit=halt) option_on_exit=${1#*=} ;;
	leanfs.*) say "the kernel's command line: this word is not understood: $1" ;;
	esac
}

# first_device: leaves the Ethernet device with the lowest number in $found.
first_device() {
	found=
	lowest=
	set +f
	for entry in /sys/class/net/*; do
		[ -r "$entry/type" ] && read -r type <"$entry/type" && read -r index <"$entry/ifindex" || continue
		[ "$type" = 1 ] || continue
		if [ -z "$found" ] || [ "$index" -lt "$lowest" ]; then
			found=${entry##*/}
			lowest=$index
		fi
	done
	set -f
	[ -n "$found" ]
}

# find_device [NAME]: waits for it, at most 5 s.
find_device() {
	tries=0
	while [ $tries -lt 50 ]; do
		if [ -z "$1" ]; then
			first_device && return 0
		elif [ -e "/sys/class/net/$1" ]; then
			found=$1
			return 0
		fi
		$bb sleep 0.1
		tries=$((tries + 1))
	done
	if [ -n "$1" ]; then
		found="the network device $1 has not appeared"
	else
		found="no network device appeared"
	fi
	say "$found within 5 s: is one given to the machine, and is its driver built into the kernel or among the modules in init.conf?"
	return 1
}

# network ADDRESS/PREFIX[,gateway=A][,dns=A][,device=NAME]
network() {
	address=${1%%,*}
	gateway=
	servers=
	name=
	case $1 in
	*,*) settings=${1#*,} ;;
	*) settings= ;;
	esac
	while [ -n "$settings" ]; do
		setting=${settings%%,*}
		case $settings in
		*,*) settings=${settings#*,} ;;
		*) settings= ;;
		esac
		case $setting in
		gateway=*) gateway=${setting#*=} ;;
		dns=*) servers="${servers}nameserver ${setting#*=}$newline" ;;
		device=*) name=${setting#*=} ;;
		*) say "the kernel's command line: leanfs.ip has $setting, where gateway=, dns= or device= is expected" ;;
		esac
	done
	if find_device "$name"; then
		$bb ip addr add "$address" dev "$found" || say "the network device $found: its address can't be set: $address"
		$bb ip link set "$found" up || say "the network device $found: it can't be brought up"
		if [ -n "$gateway" ]; then
			$bb ip route add default via "$gateway" dev "$found" 2>/dev/null ||
				{ $bb ip route add "$gateway" dev "$found" && $bb ip route add default via "$gateway" dev "$found"; } ||
				say "the network device $found: the gateway can't be set: $gateway"
		fi
	fi
	if [ -n "$servers" ]; then
		(printf %s "$servers" >/etc/resolv.conf) || say "the name servers can't be written to /etc/resolv.conf"
	fi
}

# stop SIGNAL: asks the program to end, and kills it a minute later.
stop() {
	say "passing $1 on as SIGTERM"
	kill -TERM "$main"
	if [ -z "$stopping" ]; then
		stopping=yes
		{
			$bb sleep 60
			say "$program hasn't ended within a minute, and is killed"
			kill -KILL "$main"
		} &
	fi
}

# others_run: whether there are processes beside this one and the kernel's own.
others_run() {
	set +f
	for entry in /proc/[0-9]*; do
		command=
		[ "$entry" = /proc/1 ] || IFS= read -r command 2>/dev/null <"$entry/cmdline"
		[ -z "$command" ] || break
	done
	set -f
	[ -n "$command" ]
}

if [ $$ != 1 ]; then
	say "this is PID 1 of a leanfs image, and it does nothing as another process"
	exit 2
fi

mount_at devtmpfs /dev nosuid,mode=0755
device null 666 1 3
device zero 666 1 5
device full 666 1 7
device random 666 1 8
device urandom 666 1 9
device tty 666 5 0
device console 600 5 1
device ptmx 666 5 2
# Without a console, lines lead nowhere; `exec` would end this shell if it failed.
if (: </dev/console >/dev/console) 2>/dev/null; then
	console=/dev/console
else
	console=/dev/null
fi
exec <"$console" >"$console" 2>&1
mount_at proc /proc nosuid,nodev,noexec
mount_at sysfs /sys nosuid,nodev,noexec
[ -e /dev/fd ] || $bb ln -s /proc/self/fd /dev/fd
[ -e /dev/stdin ] || $bb ln -s /proc/self/fd/0 /dev/stdin
[ -e /dev/stdout ] || $bb ln -s /proc/self/fd/1 /dev/stdout
[ -e /dev/stderr ] || $bb ln -s /proc/self/fd/2 /dev/stderr
mount_at devpts /dev/pts nosuid,noexec,gid=5,mode=0620,ptmxmode=0666
mount_at tmpfs /dev/shm nosuid,nodev,mode=1777
mount_at tmpfs /run nosuid,nodev,mode=0755
[ -w /tmp ] || mount_at tmpfs /tmp nosuid,nodev,mode=1777
echo 0 >/proc/sys/kernel/ctrl-alt-del

ip=
option_hostname=
option_env=
option_data=
option_on_exit=
data=
command_line=
[ -r /proc/cmdline ] && IFS= read -r command_line </proc/cmdline
command_line="$command_line "
quoted=
word=
while [ -n "$command_line" ]; do
	case $command_line in
	\"*)
		[ -z "$quoted" ] && quoted=yes || quoted=
		command_line=${command_line#?}
		;;
	' '*)
		if [ -n "$quoted" ]; then
			word="$word "
		else
			option "$word"
			word=
		fi
		command_line=${command_line# }
		;;
	*)
		part=${command_line%%[ \"]*}
		word=$word$part
		command_line=${command_line#"$part"}
		;;
	esac
done

# The positional parameters become the environment, and then the program and its arguments: the only list that
# this shell has. That is why these loops are not functions.
set -- "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "HOME=/root" "TERM=linux"
hostname=
directory=/
program=
on_exit=
[ -r "$conf" ] || say "$conf can't be read, so there is nothing to start; assemble the image again"
$bb ip link set lo up || say "the loopback device can't be brought up"

number=0
[ -r "$conf" ] && while IFS= read -r line || [ -n "$line" ]; do
	number=$((number + 1))
	read_line || continue
	if ! read_words "$words"; then
		ignored 'a backslash in it is followed by none of \, n, s and e'
		continue
	fi
	case $key,$count in
	hostname,1) hostname=$first ;;
	module,1)
		if ! error=$($bb insmod "$first" 2>&1); then
			case $error in
			*'File exists'*) ;;
			*) say "the module $first can't be loaded: $error" ;;
			esac
		fi
		;;
	data,2) mount_data "${option_data:-$first}" "$second" ;;
	data,*) ignored '`data` takes two words' ;;
	env,1)
		case $first in
		?*=*) set -- "$@" "$first" ;;
		*) ignored '`env` takes NAME=VALUE' ;;
		esac
		;;
	copy,2)
		$bb mkdir -p "${second%/*}/" && $bb cp -p "$first" "$second" || say "$first can't be copied to $second"
		;;
	directory,1) directory=$first ;;
	helper,0) ignored '`helper` takes a program and its arguments' ;;
	exec,1) program=$first ;;
	arg,1 | helper,*) ;;
	on-exit,1)
		case $first in
		poweroff | reboot | halt) on_exit=$first ;;
		*) ignored '`on-exit` takes poweroff, reboot or halt' ;;
		esac
		;;
	copy,*) ignored '`copy` takes two words' ;;
	hostname,* | module,* | env,* | directory,* | exec,* | arg,* | on-exit,*) ignored 'its key takes one word' ;;
	*) ignored 'its key is not known' ;;
	esac
done <"$conf"

while [ -n "$option_env" ]; do
	set -- "$@" "${option_env%%"$newline"*}"
	option_env=${option_env#*"$newline"}
done
hostname=${option_hostname:-${hostname:-leanfs.local}}
case $hostname in
*.*) ;;
*) hostname=$hostname.local ;;
esac
$bb hostname "$hostname" || say "the host name $hostname can't be set"
[ -z "$ip" ] || network "$ip"
end=${option_on_exit:-${on_exit:-poweroff}}

# Every connection is an open file.
ulimit -n 65536

environment=$#
[ -r "$conf" ] && while IFS= read -r line || [ -n "$line" ]; do
	read_line && [ "$key" = helper ] && read_words "$words" && [ "$count" -gt 0 ] || continue
	position=0
	for word in $words; do
		unescape "$word"
		position=$((position + 1))
		# The second word is argv[0].
		[ $position = 2 ] || set -- "$@" "$plain"
	done
	$bb setsid $bb env -i "$@" </dev/null >"$console" 2>&1 &
	# The environment stays, and the rest goes.
	position=0
	for word in "$@"; do
		shift
		position=$((position + 1))
		[ $position -gt $environment ] || set -- "$@" "$word"
	done
done <"$conf"

if [ -n "$program" ]; then
	set -- "$@" "$program"
	is_first=yes
	while IFS= read -r line || [ -n "$line" ]; do
		read_line && [ "$key" = arg ] && read_words "$words" && [ "$count" = 1 ] || continue
		[ -n "$is_first" ] || set -- "$@" "$first"
		is_first=
	done <"$conf"
	stopping=
	(
		cd "$directory" || say "$program isn't started in $directory"
		exec $bb setsid -c $bb env -i "$@"
	) <"$console" >"$console" 2>&1 &
	main=$!
	trap 'stop SIGTERM' TERM
	trap 'stop SIGINT' INT
	trap 'end=poweroff; stop SIGPWR' PWR
	trap 'end=poweroff; stop SIGUSR2' USR2
	trap 'kill -USR1 "$main"' USR1
	trap 'kill -HUP "$main"' HUP
	trap 'kill -QUIT "$main"' QUIT
	# `wait` reaps whatever else ends, and ends itself at a signal.
	while :; do
		wait "$main"
		status=$?
		kill -0 "$main" 2>/dev/null || break
	done
	wait "$main" 2>/dev/null
	again=$?
	[ "$again" = 127 ] || status=$again
	if [ "$status" -gt 128 ]; then
		say "$program was ended by signal $((status - 128)) (SIG$(kill -l $((status - 128))))"
	else
		say "$program ended with exit status $status"
	fi
else
	say "$conf has no \`exec\` line: there is no program to start"
fi

trap '' TERM INT USR1 USR2 HUP QUIT PWR
kill -TERM -1 2>/dev/null
tries=0
while [ $tries -lt 20 ] && others_run; do
	$bb sleep 0.1
	tries=$((tries + 1))
done
kill -KILL -1 2>/dev/null
[ -z "$data" ] || $bb umount "$data" 2>/dev/null || $bb mount -o remount,ro "$data"
switch_off
