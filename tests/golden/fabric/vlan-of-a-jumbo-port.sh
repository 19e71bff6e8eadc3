# apply
sysctl -w net/bridge/bridge-nf-call-iptables=0
sysctl -w net/bridge/bridge-nf-call-ip6tables=0
sysctl -w net/bridge/bridge-nf-call-arptables=0
ip link add name mmb-1d4bc9c9f5 mtu 9000 type bridge
ip link set dev mmb-1d4bc9c9f5 alias meetme:ix1-0007
ip link set dev mmb-1d4bc9c9f5 addrgenmode none
ip link set dev mmb-1d4bc9c9f5 mtu 9000 type bridge stp_state 0 mcast_snooping 0 group_fwd_mask 0xfff8
ip link add name mmx-1 type vxlan id 1 local 10.9.0.1 remote 10.9.2.2 dstport 4789 nolearning df set ttl 64
ip link set dev mmx-1 alias meetme:ix1-0007
ip link set dev mmx-1 addrgenmode none
ip link add link eth2 name eth2.100 type vlan id 100
ip link set dev eth2.100 alias meetme:ix1-0007
ip link set dev eth2.100 addrgenmode none
sysctl -w net/ipv6/conf/mmb-1d4bc9c9f5/disable_ipv6=1
sysctl -w net/ipv6/conf/eth2.100/disable_ipv6=1
sysctl -w net/ipv6/conf/mmx-1/disable_ipv6=1
bridge fdb replace 02:6d:65:65:74:70 dev mmb-1d4bc9c9f5 self local
ip link set dev eth2.100 mtu 9000 master mmb-1d4bc9c9f5
ip link set dev eth2.100 type bridge_slave learning off group_fwd_mask 0xfffd isolated off flood on mcast_flood on bcast_flood on
ip link set dev eth2.100 up
ip link set dev mmx-1 mtu 9000 master mmb-1d4bc9c9f5
ip link set dev mmx-1 type bridge_slave learning off group_fwd_mask 0xfffd isolated off flood on mcast_flood on bcast_flood on
ip link set dev mmx-1 up
tc qdisc replace dev eth2.100 root handle 2328: tbf rate 100000000bit burst 131072b limit 381072b peakrate 1000000000000bit mtu 9014b
tc qdisc replace dev mmx-1 root handle 2328: tbf rate 100000000bit burst 131072b limit 381072b peakrate 1000000000000bit mtu 9014b
ip link set dev mmb-1d4bc9c9f5 up

# remove
ip link set dev mmb-1d4bc9c9f5 down
ip link del dev eth2.100
ip link del dev mmx-1
ip link del dev mmb-1d4bc9c9f5
