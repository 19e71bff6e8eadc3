# change
ip netns exec mm-59e9d63092 nft -f - <<'END'
flush chain inet meetme forward
add element inet meetme from_local4 { 10.3.0.0/24 : 100.64.3.0/24 }
add element inet meetme local_inside4 { 10.3.0.0/24 }
add element inet meetme local_wire4 { 100.64.3.0/24 }
add element inet meetme to_local4 { 100.64.3.0/24 : 10.3.0.0/24 }
table inet meetme {
	chain forward {
		type filter hook forward priority filter; policy drop;
		meta nfproto ipv4 tcp flags syn tcp option maxseg size set 1360
		iifname "eth1" ip daddr @router4 jump router
		iifname "eth1" oifname "in-59e9d63092" meta mark 1 accept
		iifname "in-59e9d63092" oifname "eth1" meta mark 2 accept
	}
}
END
ip -n mm-59e9d63092 link set dev eth1 mtu 1400 up
ip -n mm-59e9d63092 link set dev in-59e9d63092 mtu 1400 up
ip -n mm-59e9d63092 route add fd00:1::/64 via fe80::59:e9d6:3092:2 dev eth1 table 1 proto 201 metric 64
ip -n mm-59e9d63092 route add 10.3.0.0/24 via inet6 fe80::59:e9d6:3092:a dev in-59e9d63092 table 2 proto 201 metric 64
ip link set dev mm-59e9d63092 mtu 1400 up
ip route add unreachable fd64::/64 proto 201 metric 1508496944
ip route add fd64::/64 via fe80::59:e9d6:3092:b dev mm-59e9d63092 proto 201 metric 64
conntrack -D -d fd64::/64; conntrack -D -r fd64::/64

# back
ip netns exec mm-59e9d63092 nft -f - <<'END'
flush chain inet meetme forward
delete element inet meetme from_local4 { 10.3.0.0/24 : 100.64.3.0/24 }
delete element inet meetme local_inside4 { 10.3.0.0/24 }
delete element inet meetme local_wire4 { 100.64.3.0/24 }
delete element inet meetme to_local4 { 100.64.3.0/24 : 10.3.0.0/24 }
table inet meetme {
	chain forward {
		type filter hook forward priority filter; policy drop;
		meta nfproto ipv4 tcp flags syn tcp option maxseg size set 1460
		iifname "eth1" ip daddr @router4 jump router
		iifname "eth1" oifname "in-59e9d63092" meta mark 1 accept
		iifname "in-59e9d63092" oifname "eth1" meta mark 2 accept
	}
}
END
ip route del unreachable fd64::/64 proto 201 metric 1508496944
ip route del fd64::/64 dev mm-59e9d63092 proto 201 metric 64
ip -n mm-59e9d63092 route del fd00:1::/64 dev eth1 table 1 metric 64
ip -n mm-59e9d63092 route del 10.3.0.0/24 dev in-59e9d63092 table 2 metric 64
ip -n mm-59e9d63092 link set dev eth1 mtu 1500 up
ip -n mm-59e9d63092 link set dev in-59e9d63092 mtu 1500 up
ip netns exec mm-59e9d63092 conntrack -D -d 10.3.0.0/24; ip netns exec mm-59e9d63092 conntrack -D -r 10.3.0.0/24; ip netns exec mm-59e9d63092 conntrack -D -d 100.64.3.0/24; ip netns exec mm-59e9d63092 conntrack -D -r 100.64.3.0/24
ip link set dev mm-59e9d63092 mtu 1500 up
conntrack -D -d fd64::/64; conntrack -D -r fd64::/64
