# apply
ip netns add mm-59e9d63092
ip netns exec mm-59e9d63092 sysctl -w net/ipv4/conf/all/rp_filter=0
ip netns exec mm-59e9d63092 sysctl -w net/ipv4/conf/all/send_redirects=0
ip netns exec mm-59e9d63092 sysctl -w net/ipv4/conf/default/rp_filter=0
ip netns exec mm-59e9d63092 sysctl -w net/ipv4/conf/default/send_redirects=0
ip netns exec mm-59e9d63092 sysctl -w net/ipv4/fwmark_reflect=1
ip netns exec mm-59e9d63092 sysctl -w net/ipv4/ip_forward=1
ip netns exec mm-59e9d63092 sysctl -w net/ipv6/conf/all/disable_ipv6=0
ip netns exec mm-59e9d63092 sysctl -w net/ipv6/conf/all/forwarding=1
ip netns exec mm-59e9d63092 sysctl -w net/ipv6/conf/default/accept_ra=0
ip netns exec mm-59e9d63092 sysctl -w net/ipv6/conf/default/addr_gen_mode=1
ip netns exec mm-59e9d63092 sysctl -w net/ipv6/conf/default/disable_ipv6=0
ip netns exec mm-59e9d63092 sysctl -w net/ipv6/fwmark_reflect=1
ip netns exec mm-59e9d63092 nft -f - <<'END'
table inet meetme {
	set local_inside4 {
		type ipv4_addr; flags interval;
		elements = { 10.0.0.0/24 }
	}

	set local_wire4 {
		type ipv4_addr; flags interval;
		elements = { 100.64.1.0/24 }
	}

	set remote_inside4 {
		type ipv4_addr; flags interval;
		elements = { 100.64.2.0/24 }
	}

	set remote_wire4 {
		type ipv4_addr; flags interval;
		elements = { 10.0.0.0/24 }
	}

	set router4 {
		type ipv4_addr; flags interval;
		elements = { 10.0.0.0/32, 10.0.0.1/32, 10.0.0.255/32 }
	}

	map to_remote4 {
		type ipv4_addr : interval ipv4_addr; flags interval;
		elements = { 100.64.2.0/24 : 10.0.0.0/24 }
	}

	map to_local4 {
		type ipv4_addr : interval ipv4_addr; flags interval;
		elements = { 100.64.1.0/24 : 10.0.0.0/24 }
	}

	map from_local4 {
		type ipv4_addr : interval ipv4_addr; flags interval;
		elements = { 10.0.0.0/24 : 100.64.1.0/24 }
	}

	map from_remote4 {
		type ipv4_addr : interval ipv4_addr; flags interval;
		elements = { 10.0.0.0/24 : 100.64.2.0/24 }
	}

	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		ct state invalid drop
		iifname "in-59e9d63092" ip saddr @local_inside4 ip daddr @remote_inside4 meta mark set 2
		iifname "eth1" ip saddr @remote_wire4 ip daddr @local_wire4 meta mark set 1
		iifname "in-59e9d63092" ip daddr @remote_inside4 ct state related icmp type { destination-unreachable, time-exceeded, parameter-problem } meta mark set 2
		iifname "eth1" ip daddr @local_wire4 ct state related icmp type { destination-unreachable, time-exceeded, parameter-problem } meta mark set 1
	}

	chain forward {
		type filter hook forward priority filter; policy drop;
		meta nfproto ipv4 tcp flags syn tcp option maxseg size set 1460
		iifname "eth1" ip daddr @router4 jump router
		iifname "eth1" oifname "in-59e9d63092" meta mark 1 accept
		iifname "in-59e9d63092" oifname "eth1" meta mark 2 accept
	}

	chain router {
		ct direction reply accept
		ct state related accept
		ip daddr 10.0.0.1 icmp type echo-request accept
		drop
	}

	chain postrouting {
		type filter hook postrouting priority 150; policy accept;
		oifname "eth1" ip saddr != @local_wire4 icmp type { destination-unreachable, time-exceeded, parameter-problem } ip saddr set 100.64.1.1
		oifname "in-59e9d63092" ip saddr != @remote_inside4 icmp type { destination-unreachable, time-exceeded, parameter-problem } ip saddr set 100.64.2.1
		oifname "eth1" meta mark 2 ip saddr != @local_wire4 drop
		oifname "in-59e9d63092" meta mark 1 ip saddr != @remote_inside4 drop
	}

	chain input {
		type filter hook input priority filter; policy drop;
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept
	}

	chain output {
		type filter hook output priority filter; policy drop;
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		meta mark { 1, 2 } icmp type { destination-unreachable, time-exceeded, parameter-problem } accept
	}

	chain dstnat {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "in-59e9d63092" dnat ip prefix to ip daddr map @to_remote4
		iifname "eth1" dnat ip prefix to ip daddr map @to_local4
	}

	chain srcnat {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "eth1" snat ip prefix to ip saddr map @from_local4
		oifname "in-59e9d63092" snat ip prefix to ip saddr map @from_remote4
	}
}
END
ip link add name mm-59e9d63092 mtu 1500 address 02:59:e9:d6:30:0a type veth peer name in-59e9d63092 mtu 1500 address 02:59:e9:d6:30:0b netns mm-59e9d63092
ip link set dev mm-59e9d63092 alias meetme:ix1-ix2-0007
ip link set dev mm-59e9d63092 addrgenmode none
ip link set dev eth1 netns mm-59e9d63092
ip netns exec mm-59e9d63092 sysctl -w net/netfilter/nf_conntrack_tcp_be_liberal=1
ip netns exec mm-59e9d63092 sysctl -w net/netfilter/nf_conntrack_tcp_loose=1
ip -n mm-59e9d63092 link set dev eth1 mtu 1500 up
ip -n mm-59e9d63092 link set dev in-59e9d63092 mtu 1500 up
ip -n mm-59e9d63092 addr add 169.254.38.170/32 dev eth1
ip -n mm-59e9d63092 addr add fe80::59:e9d6:3092:1/64 dev eth1 nodad
ip -n mm-59e9d63092 addr add fe80::59:e9d6:3092:b/64 dev in-59e9d63092 nodad
ip -n mm-59e9d63092 neigh replace fe80::59:e9d6:3092:a lladdr 02:59:e9:d6:30:0a dev in-59e9d63092 nud permanent
ip -n mm-59e9d63092 route add 10.0.0.0/24 via inet6 fe80::59:e9d6:3092:2 dev eth1 table 1 proto 201 metric 64
ip -n mm-59e9d63092 route add 10.0.0.0/24 via inet6 fe80::59:e9d6:3092:a dev in-59e9d63092 table 2 proto 201 metric 64
ip -n mm-59e9d63092 rule add pref 10 iif in-59e9d63092 fwmark 2 lookup 1
ip -n mm-59e9d63092 rule add pref 11 iif eth1 fwmark 1 lookup 2
ip -n mm-59e9d63092 rule add pref 12 iif lo fwmark 2 lookup 2
ip -n mm-59e9d63092 rule add pref 13 iif lo fwmark 1 lookup 1
sysctl -w net/ipv4/conf/mm-59e9d63092/forwarding=1
sysctl -w net/ipv6/conf/mm-59e9d63092/accept_ra=0
sysctl -w net/ipv6/conf/mm-59e9d63092/disable_ipv6=0
sysctl -w net/ipv6/conf/mm-59e9d63092/forwarding=1
ip link set dev mm-59e9d63092 mtu 1500 up
ip addr add fe80::59:e9d6:3092:a/64 dev mm-59e9d63092 nodad
ip neigh replace fe80::59:e9d6:3092:b lladdr 02:59:e9:d6:30:0b dev mm-59e9d63092 nud permanent
ip route add unreachable 100.64.2.0/24 proto 201 metric 1508496944
ip route add 100.64.2.0/24 via inet6 fe80::59:e9d6:3092:b dev mm-59e9d63092 src 10.0.0.1 proto 201 metric 64
conntrack -D -d 100.64.2.0/24; conntrack -D -r 100.64.2.0/24

# remove
ip -n mm-59e9d63092 link set dev eth1 netns $$
ip link del dev mm-59e9d63092
ip route del unreachable 100.64.2.0/24 proto 201 metric 1508496944
ip netns del mm-59e9d63092
conntrack -D -d 100.64.2.0/24; conntrack -D -r 100.64.2.0/24
