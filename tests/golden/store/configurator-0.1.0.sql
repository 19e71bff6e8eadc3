BEGIN TRANSACTION;
CREATE TABLE configurator_link (
	circuit TEXT NOT NULL, 
	generation BIGINT NOT NULL, 
	state TEXT, 
	intent TEXT, 
	deadline DOUBLE, 
	base TEXT, 
	PRIMARY KEY (circuit)
);
INSERT INTO "configurator_link" VALUES('c1',1795366400549,'confirmed','{"circuit": "c1", "agreement": "9be92eb3-6a40-468c-8196-77c1f4dbd9d8", "revision": "1", "generation": "1795366400548", "role": "initiator", "port": "eth1", "mtu": 1500, "local": [{"inside": "10.0.0.0/24", "wire": "172.16.0.0/24"}], "remote": [{"inside": "172.16.0.0/24", "wire": "10.0.0.0/24"}], "vlan": 10, "probe": "10.0.0.1", "probe_source": "10.0.0.1", "peer_probe": "172.16.0.1"}',NULL,NULL);
INSERT INTO "configurator_link" VALUES('c2',1795366402260,NULL,NULL,NULL,NULL);
CREATE TABLE configurator_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT configurator_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "configurator_version" VALUES('0001');
COMMIT;
