# apply
ip -d addr show dev eth1  # noted, to give it back just so
sysctl -w net/bridge/bridge-nf-call-iptables=0
sysctl -w net/bridge/bridge-nf-call-ip6tables=0
sysctl -w net/bridge/bridge-nf-call-arptables=0
ip link add name mmb-1d4bc9c9f5 mtu 1500 type bridge
ip link set dev mmb-1d4bc9c9f5 alias meetme:ix1-0007
ip link set dev mmb-1d4bc9c9f5 addrgenmode none
ip link set dev mmb-1d4bc9c9f5 mtu 1500 type bridge stp_state 0 mcast_snooping 0 group_fwd_mask 0xfff8
ip link add name mmx-4711 type vxlan id 4711 local 10.9.1.1 remote 10.9.1.2 dstport 4789 nolearning df set ttl 64
ip link set dev mmx-4711 alias meetme:ix1-0007
ip link set dev mmx-4711 addrgenmode none
ip link add name mmx-4712 type vxlan id 4712 local 10.9.2.1 remote 10.9.2.2 dstport 4789 nolearning df set ttl 64
ip link set dev mmx-4712 alias meetme:ix1-0007
ip link set dev mmx-4712 addrgenmode none
sysctl -w net/ipv6/conf/mmb-1d4bc9c9f5/disable_ipv6=1
sysctl -w net/ipv6/conf/eth1/disable_ipv6=1
sysctl -w net/ipv6/conf/mmx-4711/disable_ipv6=1
sysctl -w net/ipv6/conf/mmx-4712/disable_ipv6=1
bridge fdb replace 02:6d:65:65:74:70 dev mmb-1d4bc9c9f5 self local
ip link set dev eth1 mtu 1500 master mmb-1d4bc9c9f5
ip link set dev eth1 type bridge_slave learning off group_fwd_mask 0xfffd isolated off flood on mcast_flood on bcast_flood on
ip link set dev eth1 up
ip link set dev mmx-4712 mtu 1500 master mmb-1d4bc9c9f5 down
ip link set dev mmx-4712 type bridge_slave learning off group_fwd_mask 0xfffd isolated on cost 2 flood off mcast_flood off bcast_flood off
ip link set dev mmx-4712 up
ip link set dev mmx-4711 mtu 1500 master mmb-1d4bc9c9f5 down
ip link set dev mmx-4711 type bridge_slave learning off group_fwd_mask 0xfffd isolated on cost 1 flood off mcast_flood off bcast_flood off
ip link set dev mmx-4711 up
tc qdisc replace dev eth1 root handle 5dc: tbf rate 1000000000000bit burst 33554432b limit 100663296b peakrate 2000000000000bit mtu 1514b
tc qdisc replace dev mmx-4711 root handle 5dc: tbf rate 1000000000000bit burst 33554432b limit 100663296b peakrate 2000000000000bit mtu 1514b
tc qdisc replace dev mmx-4712 root handle 5dc: tbf rate 1000000000000bit burst 33554432b limit 100663296b peakrate 2000000000000bit mtu 1514b
ip link set dev mmx-4711 type bridge_slave flood on mcast_flood on bcast_flood on
ip link set dev mmb-1d4bc9c9f5 up

# remove
ip link set dev mmb-1d4bc9c9f5 down
ip link del dev mmx-4711
ip link del dev mmx-4712
ip link set dev eth1 nomaster
tc qdisc replace dev eth1 root handle 1: pfifo
tc qdisc del dev eth1 root
sysctl -w net/ipv6/conf/eth1/disable_ipv6=0
ip link set dev eth1 mtu 9000 up
ip link del dev mmb-1d4bc9c9f5
