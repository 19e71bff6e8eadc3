BEGIN TRANSACTION;
CREATE TABLE negotiator_attachment (
	circuit TEXT NOT NULL, 
	router TEXT NOT NULL, 
	port TEXT NOT NULL, 
	vlan INTEGER, 
	mtu INTEGER NOT NULL, peer TEXT, 
	PRIMARY KEY (circuit)
);
INSERT INTO "negotiator_attachment" VALUES('c1','r1','eth1',10,1500,NULL);
INSERT INTO "negotiator_attachment" VALUES('c2','r1','eth1',20,1500,NULL);
CREATE TABLE negotiator_audit (
	sequence INTEGER NOT NULL, 
	entry TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	PRIMARY KEY (sequence)
);
INSERT INTO "negotiator_audit" VALUES(1,'{"at":1795366400.312734,"circuit":"c1","mtu":1500,"peer":null,"port":"eth1","router":"r1","vlan":10,"what":"AttachmentPut"}','08ea36ad97f9190c6ad24627ab411aae9a88f74610a915c16ed6d5dd729b8119');
INSERT INTO "negotiator_audit" VALUES(2,'{"at":1795366400.3388505,"circuit":"c2","mtu":1500,"peer":null,"port":"eth1","router":"r1","vlan":20,"what":"AttachmentPut"}','61a0c1adc2d263ec9c3d6bd2afc8b4d41dff5f52f1197333ed3da742d93db563');
INSERT INTO "negotiator_audit" VALUES(3,'{"after":"proposed","at":1795366400.547703,"before":null,"circuit":"c1","negotiation":"9be92eb3-6a40-468c-8196-77c1f4dbd9d8","peer":"csp-b","problem":null,"revision":1,"what":"Start"}','c910700f9a46e25c8278d334d34bc5475116cd0b0fdd9ba49d1b6be1bca73684');
INSERT INTO "negotiator_audit" VALUES(4,'{"after":"committed","at":1795366401.4021385,"before":"proposed","circuit":"c1","negotiation":"9be92eb3-6a40-468c-8196-77c1f4dbd9d8","peer":"csp-b","problem":null,"revision":2,"what":"HoldReceived"}','2fac4438669997ebe003b83c0f121b367f4d8f18df8d5e49e5137d2c75dd97d8');
INSERT INTO "negotiator_audit" VALUES(5,'{"after":"confirming","at":1795366401.8817782,"before":"committed","circuit":"c1","negotiation":"9be92eb3-6a40-468c-8196-77c1f4dbd9d8","peer":"csp-b","problem":null,"revision":3,"what":"CommittedReceived"}','b92584a193ee3b0beb604864375b187d4635cb360d106e68eb3bbfdbb5531048');
INSERT INTO "negotiator_audit" VALUES(6,'{"after":"active","at":1795366401.9696243,"before":"confirming","circuit":"c1","negotiation":"9be92eb3-6a40-468c-8196-77c1f4dbd9d8","peer":"csp-b","problem":null,"revision":4,"what":"ActiveReceived"}','17c3ef4b5a53343e604c196340d30f545af40e6108213879dda3f72a393080ba');
INSERT INTO "negotiator_audit" VALUES(7,'{"after":"proposed","at":1795366402.257608,"before":null,"circuit":"c2","negotiation":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","peer":"csp-b","problem":null,"revision":1,"what":"Start"}','8c2a1d3354b2e33fcd192881f22ed812e60ef4ea35bee6966d7fbca87e306fd7');
INSERT INTO "negotiator_audit" VALUES(8,'{"after":"committed","at":1795366403.0221798,"before":"proposed","circuit":"c2","negotiation":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","peer":"csp-b","problem":null,"revision":2,"what":"HoldReceived"}','51785963420c05f923eaa33316277c9f96c61d3cb1df6843134c530111525e0a');
INSERT INTO "negotiator_audit" VALUES(9,'{"after":"confirming","at":1795366403.4856753,"before":"committed","circuit":"c2","negotiation":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","peer":"csp-b","problem":null,"revision":3,"what":"CommittedReceived"}','acf3fdb35fa5ac7018c6cc079c25a06ae23209168b1882476487d935ef44b1ce');
INSERT INTO "negotiator_audit" VALUES(10,'{"after":"active","at":1795366403.7678761,"before":"confirming","circuit":"c2","negotiation":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","peer":"csp-b","problem":null,"revision":4,"what":"ActiveReceived"}','c932b65dcf8bf6897aeee4b514a5f63cdab95e5c942034f3ae5c455f0464d05f');
INSERT INTO "negotiator_audit" VALUES(11,'{"after":"terminating","at":1795366404.0507216,"before":"active","circuit":"c2","negotiation":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","peer":"csp-b","problem":null,"revision":5,"what":"TerminateAsked"}','415f20f7de24014b43e101b9af2eab245268174c90c9287c67fb9e0202d80a5a');
INSERT INTO "negotiator_audit" VALUES(12,'{"after":"terminated","at":1795366404.4815366,"before":"terminating","circuit":"c2","negotiation":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","peer":"csp-b","problem":null,"revision":6,"what":"TerminatedReceived"}','a75047645aada65e5fb79813aa8ca8be4791cb2c4b86cae342c8c9100cfd9843');
CREATE TABLE negotiator_circuit (
	circuit TEXT NOT NULL, 
	generation BIGINT NOT NULL, 
	PRIMARY KEY (circuit)
);
INSERT INTO "negotiator_circuit" VALUES('c1',1795366400549);
INSERT INTO "negotiator_circuit" VALUES('c2',1795366402260);
CREATE TABLE negotiator_claim (
	negotiation TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	value TEXT NOT NULL, 
	first TEXT, 
	last TEXT, 
	PRIMARY KEY (negotiation, kind, value)
);
INSERT INTO "negotiator_claim" VALUES('9be92eb3-6a40-468c-8196-77c1f4dbd9d8','prefix','172.16.0.0/24','4:000000000000000000000000ac100000','4:000000000000000000000000ac1000ff');
INSERT INTO "negotiator_claim" VALUES('9be92eb3-6a40-468c-8196-77c1f4dbd9d8','port','r1/eth1.10',NULL,NULL);
INSERT INTO "negotiator_claim" VALUES('9be92eb3-6a40-468c-8196-77c1f4dbd9d8','circuit','c1',NULL,NULL);
CREATE TABLE negotiator_event (
	sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	negotiation TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	body TEXT NOT NULL
);
INSERT INTO "negotiator_event" VALUES(1,'9be92eb3-6a40-468c-8196-77c1f4dbd9d8','state','{"id":"9be92eb3-6a40-468c-8196-77c1f4dbd9d8","role":"initiator","peer":"csp-b","circuit":"c1","state":"proposed","health":null,"verified":null,"superseded_by":null,"problem":null,"agreement":null,"started":"2026-11-22T16:53:20.549526Z","steps":[],"left_on_device":[],"owed":[]}');
INSERT INTO "negotiator_event" VALUES(2,'9be92eb3-6a40-468c-8196-77c1f4dbd9d8','step','{"name":"propose","seconds":0.8268394470214844,"ok":true}');
INSERT INTO "negotiator_event" VALUES(3,'9be92eb3-6a40-468c-8196-77c1f4dbd9d8','state','{"id":"9be92eb3-6a40-468c-8196-77c1f4dbd9d8","role":"initiator","peer":"csp-b","circuit":"c1","state":"committed","health":null,"verified":null,"superseded_by":null,"problem":null,"agreement":{"id":"9be92eb3-6a40-468c-8196-77c1f4dbd9d8","circuit":"c1","order":null,"link":{"kind":"unnumbered","initiator":null,"responder":null},"mtu":1500,"translation":"single","initiator":{"member":"csp-a","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.0.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"responder":{"member":"csp-b","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.0.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"version":1},"started":"2026-11-22T16:53:20.549526Z","steps":[{"name":"propose","seconds":0.8268394470214844,"ok":true}],"left_on_device":[],"owed":[]}');
INSERT INTO "negotiator_event" VALUES(4,'9be92eb3-6a40-468c-8196-77c1f4dbd9d8','step','{"name":"configure","seconds":1.0896310806274414,"ok":true}');
INSERT INTO "negotiator_event" VALUES(5,'9be92eb3-6a40-468c-8196-77c1f4dbd9d8','step','{"name":"probe","seconds":1.176154375076294,"ok":true}');
INSERT INTO "negotiator_event" VALUES(6,'9be92eb3-6a40-468c-8196-77c1f4dbd9d8','step','{"name":"peer_ready","seconds":1.3054277896881104,"ok":true}');
INSERT INTO "negotiator_event" VALUES(7,'9be92eb3-6a40-468c-8196-77c1f4dbd9d8','state','{"id":"9be92eb3-6a40-468c-8196-77c1f4dbd9d8","role":"initiator","peer":"csp-b","circuit":"c1","state":"confirming","health":null,"verified":"path","superseded_by":null,"problem":null,"agreement":{"id":"9be92eb3-6a40-468c-8196-77c1f4dbd9d8","circuit":"c1","order":null,"link":{"kind":"unnumbered","initiator":null,"responder":null},"mtu":1500,"translation":"single","initiator":{"member":"csp-a","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.0.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"responder":{"member":"csp-b","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.0.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"version":1},"started":"2026-11-22T16:53:20.549526Z","steps":[{"name":"propose","seconds":0.8268394470214844,"ok":true},{"name":"configure","seconds":1.0896310806274414,"ok":true},{"name":"probe","seconds":1.176154375076294,"ok":true},{"name":"peer_ready","seconds":1.3054277896881104,"ok":true}],"left_on_device":[],"owed":[]}');
INSERT INTO "negotiator_event" VALUES(8,'9be92eb3-6a40-468c-8196-77c1f4dbd9d8','step','{"name":"active","seconds":1.4155864715576172,"ok":true}');
INSERT INTO "negotiator_event" VALUES(9,'9be92eb3-6a40-468c-8196-77c1f4dbd9d8','state','{"id":"9be92eb3-6a40-468c-8196-77c1f4dbd9d8","role":"initiator","peer":"csp-b","circuit":"c1","state":"active","health":{"state":"up","rtt_ms":0.1,"loss":0.0},"verified":"path","superseded_by":null,"problem":null,"agreement":{"id":"9be92eb3-6a40-468c-8196-77c1f4dbd9d8","circuit":"c1","order":null,"link":{"kind":"unnumbered","initiator":null,"responder":null},"mtu":1500,"translation":"single","initiator":{"member":"csp-a","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.0.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"responder":{"member":"csp-b","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.0.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"version":1},"started":"2026-11-22T16:53:20.549526Z","steps":[{"name":"propose","seconds":0.8268394470214844,"ok":true},{"name":"configure","seconds":1.0896310806274414,"ok":true},{"name":"probe","seconds":1.176154375076294,"ok":true},{"name":"peer_ready","seconds":1.3054277896881104,"ok":true},{"name":"active","seconds":1.4155864715576172,"ok":true}],"left_on_device":[],"owed":[]}');
INSERT INTO "negotiator_event" VALUES(10,'6921b311-4d65-4c3e-bbc1-72c3e6061ace','state','{"id":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","role":"initiator","peer":"csp-b","circuit":"c2","state":"proposed","health":null,"verified":null,"superseded_by":null,"problem":null,"agreement":null,"started":"2026-11-22T16:53:22.258520Z","steps":[],"left_on_device":[],"owed":[]}');
INSERT INTO "negotiator_event" VALUES(11,'6921b311-4d65-4c3e-bbc1-72c3e6061ace','step','{"name":"propose","seconds":0.7016680240631104,"ok":true}');
INSERT INTO "negotiator_event" VALUES(12,'6921b311-4d65-4c3e-bbc1-72c3e6061ace','state','{"id":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","role":"initiator","peer":"csp-b","circuit":"c2","state":"committed","health":null,"verified":null,"superseded_by":null,"problem":null,"agreement":{"id":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","circuit":"c2","order":null,"link":{"kind":"unnumbered","initiator":null,"responder":null},"mtu":1500,"translation":"single","initiator":{"member":"csp-a","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.1.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"responder":{"member":"csp-b","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.1.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"version":1},"started":"2026-11-22T16:53:22.258520Z","steps":[{"name":"propose","seconds":0.7016680240631104,"ok":true}],"left_on_device":[],"owed":[]}');
INSERT INTO "negotiator_event" VALUES(13,'6921b311-4d65-4c3e-bbc1-72c3e6061ace','step','{"name":"configure","seconds":1.013310432434082,"ok":true}');
INSERT INTO "negotiator_event" VALUES(14,'6921b311-4d65-4c3e-bbc1-72c3e6061ace','step','{"name":"probe","seconds":1.099778652191162,"ok":true}');
INSERT INTO "negotiator_event" VALUES(15,'6921b311-4d65-4c3e-bbc1-72c3e6061ace','step','{"name":"peer_ready","seconds":1.2249295711517334,"ok":true}');
INSERT INTO "negotiator_event" VALUES(16,'6921b311-4d65-4c3e-bbc1-72c3e6061ace','state','{"id":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","role":"initiator","peer":"csp-b","circuit":"c2","state":"confirming","health":null,"verified":"path","superseded_by":null,"problem":null,"agreement":{"id":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","circuit":"c2","order":null,"link":{"kind":"unnumbered","initiator":null,"responder":null},"mtu":1500,"translation":"single","initiator":{"member":"csp-a","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.1.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"responder":{"member":"csp-b","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.1.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"version":1},"started":"2026-11-22T16:53:22.258520Z","steps":[{"name":"propose","seconds":0.7016680240631104,"ok":true},{"name":"configure","seconds":1.013310432434082,"ok":true},{"name":"probe","seconds":1.099778652191162,"ok":true},{"name":"peer_ready","seconds":1.2249295711517334,"ok":true}],"left_on_device":[],"owed":[]}');
INSERT INTO "negotiator_event" VALUES(17,'6921b311-4d65-4c3e-bbc1-72c3e6061ace','step','{"name":"active","seconds":1.5048480033874512,"ok":true}');
INSERT INTO "negotiator_event" VALUES(18,'6921b311-4d65-4c3e-bbc1-72c3e6061ace','state','{"id":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","role":"initiator","peer":"csp-b","circuit":"c2","state":"active","health":{"state":"up","rtt_ms":0.1,"loss":0.0},"verified":"path","superseded_by":null,"problem":null,"agreement":{"id":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","circuit":"c2","order":null,"link":{"kind":"unnumbered","initiator":null,"responder":null},"mtu":1500,"translation":"single","initiator":{"member":"csp-a","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.1.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"responder":{"member":"csp-b","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.1.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"version":1},"started":"2026-11-22T16:53:22.258520Z","steps":[{"name":"propose","seconds":0.7016680240631104,"ok":true},{"name":"configure","seconds":1.013310432434082,"ok":true},{"name":"probe","seconds":1.099778652191162,"ok":true},{"name":"peer_ready","seconds":1.2249295711517334,"ok":true},{"name":"active","seconds":1.5048480033874512,"ok":true}],"left_on_device":[],"owed":[]}');
INSERT INTO "negotiator_event" VALUES(19,'6921b311-4d65-4c3e-bbc1-72c3e6061ace','step','{"name":"terminate","seconds":1.7922015190124512,"ok":true}');
INSERT INTO "negotiator_event" VALUES(20,'6921b311-4d65-4c3e-bbc1-72c3e6061ace','state','{"id":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","role":"initiator","peer":"csp-b","circuit":"c2","state":"terminating","health":null,"verified":"path","superseded_by":null,"problem":null,"agreement":{"id":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","circuit":"c2","order":null,"link":{"kind":"unnumbered","initiator":null,"responder":null},"mtu":1500,"translation":"single","initiator":{"member":"csp-a","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.1.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"responder":{"member":"csp-b","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.1.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"version":1},"started":"2026-11-22T16:53:22.258520Z","steps":[{"name":"propose","seconds":0.7016680240631104,"ok":true},{"name":"configure","seconds":1.013310432434082,"ok":true},{"name":"probe","seconds":1.099778652191162,"ok":true},{"name":"peer_ready","seconds":1.2249295711517334,"ok":true},{"name":"active","seconds":1.5048480033874512,"ok":true},{"name":"terminate","seconds":1.7922015190124512,"ok":true}],"left_on_device":[],"owed":[]}');
INSERT INTO "negotiator_event" VALUES(21,'6921b311-4d65-4c3e-bbc1-72c3e6061ace','step','{"name":"terminated","seconds":2.220909595489502,"ok":true}');
INSERT INTO "negotiator_event" VALUES(22,'6921b311-4d65-4c3e-bbc1-72c3e6061ace','state','{"id":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","role":"initiator","peer":"csp-b","circuit":"c2","state":"terminated","health":null,"verified":"path","superseded_by":null,"problem":null,"agreement":{"id":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","circuit":"c2","order":null,"link":{"kind":"unnumbered","initiator":null,"responder":null},"mtu":1500,"translation":"single","initiator":{"member":"csp-a","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.1.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"responder":{"member":"csp-b","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.1.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"version":1},"started":"2026-11-22T16:53:22.258520Z","steps":[{"name":"propose","seconds":0.7016680240631104,"ok":true},{"name":"configure","seconds":1.013310432434082,"ok":true},{"name":"probe","seconds":1.099778652191162,"ok":true},{"name":"peer_ready","seconds":1.2249295711517334,"ok":true},{"name":"active","seconds":1.5048480033874512,"ok":true},{"name":"terminate","seconds":1.7922015190124512,"ok":true},{"name":"terminated","seconds":2.220909595489502,"ok":true}],"left_on_device":[],"owed":[]}');
CREATE TABLE negotiator_idempotency (
	"key" TEXT NOT NULL, 
	body_hash TEXT NOT NULL, 
	negotiation TEXT NOT NULL, 
	at DOUBLE NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "negotiator_idempotency" VALUES('order-1','21443edaab11c00418fecc9e7d1a812bce6beacdb8632ff766c36cfeffd8271b','9be92eb3-6a40-468c-8196-77c1f4dbd9d8',1.79536640054770302776e+09);
INSERT INTO "negotiator_idempotency" VALUES('order-2','91172fef961e4067c8801bb97887413aa95d4e9071861a171cc7424a6329e365','6921b311-4d65-4c3e-bbc1-72c3e6061ace',1.79536640225760793683e+09);
CREATE TABLE negotiator_message (
	sender TEXT NOT NULL, 
	message TEXT NOT NULL, 
	negotiation TEXT NOT NULL, 
	received DOUBLE NOT NULL, 
	expires DOUBLE NOT NULL, 
	body TEXT NOT NULL, 
	answer TEXT, 
	PRIMARY KEY (sender, message)
);
CREATE TABLE negotiator_negotiation (
	id TEXT NOT NULL, 
	peer TEXT NOT NULL, 
	circuit TEXT NOT NULL, 
	role TEXT NOT NULL, 
	state TEXT NOT NULL, 
	revision INTEGER NOT NULL, 
	started DOUBLE NOT NULL, 
	order_id TEXT, 
	body TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "negotiator_negotiation" VALUES('9be92eb3-6a40-468c-8196-77c1f4dbd9d8','csp-b','c1','initiator','active',4,1.79536640054952621454e+09,NULL,'{"id":"9be92eb3-6a40-468c-8196-77c1f4dbd9d8","role":"initiator","me":"csp-a","peer":"csp-b","circuit":"c1","order":null,"attachment":{"router":"r1","port":"eth1","vlan":10,"mtu":1500,"peer":null},"generation":1795366400549,"started":1795366400.5495262,"deadline":null,"state":"active","revision":4,"round":2,"queries":0,"offer":{"prefixes":["10.0.0.0/24"],"peer_prefixes":["10.0.0.0/24"],"need_alias":["10.0.0.0/24"],"aliases":["172.16.0.0/24","172.16.1.0/24"],"links":["169.254.100.0/31","169.254.100.2/31"],"alias_pools":["172.16.0.0/12"],"can":{"unnumbered":true,"single":true,"single_identical":true,"each_own":true,"ipv6":true,"max_prefixes":null},"mtu":1500,"translation":"auto","link":"auto","probe":"10.0.0.1"},"agreement":{"id":"9be92eb3-6a40-468c-8196-77c1f4dbd9d8","circuit":"c1","order":null,"link":{"kind":"unnumbered","initiator":null,"responder":null},"mtu":1500,"translation":"single","initiator":{"member":"csp-a","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.0.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"responder":{"member":"csp-b","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.0.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"version":1},"document":"{\"payload\": \"eyJjaXJjdWl0IjoiYzEiLCJpZCI6IjliZTkyZWIzLTZhNDAtNDY4Yy04MTk2LTc3YzFmNGRiZDlkOCIsImluaXRpYXRvciI6eyJtZW1iZXIiOiJjc3AtYSIsInByZWZpeGVzIjpbeyJhbGlhcyI6IjE3Mi4xNi4wLjAvMjQiLCJyZWFsIjoiMTAuMC4wLjAvMjQiLCJ0cmFuc2xhdG9yIjoiaW5pdGlhdG9yIn1dLCJwcm9iZSI6IjEwLjAuMC4xIn0sImxpbmsiOnsiaW5pdGlhdG9yIjpudWxsLCJraW5kIjoidW5udW1iZXJlZCIsInJlc3BvbmRlciI6bnVsbH0sIm10dSI6MTUwMCwib3JkZXIiOm51bGwsInJlc3BvbmRlciI6eyJtZW1iZXIiOiJjc3AtYiIsInByZWZpeGVzIjpbeyJhbGlhcyI6IjE3Mi4xNi4wLjAvMjQiLCJyZWFsIjoiMTAuMC4wLjAvMjQiLCJ0cmFuc2xhdG9yIjoiaW5pdGlhdG9yIn1dLCJwcm9iZSI6IjEwLjAuMC4xIn0sInRyYW5zbGF0aW9uIjoic2luZ2xlIiwidmVyc2lvbiI6MX0\", \"signatures\": [{\"protected\": \"eyJhbGciOiJFUzI1NiIsImtpZCI6ImNzcC1iIn0\", \"signature\": \"pe7UQ-FFM2Ju2cxsaBXMiziGsXmyqWv7TzuzS3X2Q5wFAQl2459oLCJo0kNnO0uL1U6pUBqhA6xmU9KU9AWsFQ\"}, {\"protected\": \"eyJhbGciOiJFUzI1NiIsImtpZCI6ImNzcC1hIn0\", \"signature\": \"FEKdulz-lcrqeOENlnCurxAUsved-ZptTlvK7YbFf8TLSJE5bsCiC4viJf3yWhxMxvwad5NZowyL-nB1X-SCJw\"}]}","device":"confirmed","verified":"path","probe_done":true,"peer_ready":true,"peer_verified":"path","peer_ended":false,"peer_lost":false,"released":false,"pending":[],"problem":null,"superseded_by":null,"left_on_device":[],"health":{"state":"up","rtt_ms":0.1,"loss":0.0},"steps":[{"name":"propose","seconds":0.8268394470214844,"ok":true},{"name":"configure","seconds":1.0896310806274414,"ok":true},{"name":"probe","seconds":1.176154375076294,"ok":true},{"name":"peer_ready","seconds":1.3054277896881104,"ok":true},{"name":"active","seconds":1.4155864715576172,"ok":true}],"probe_target":null}');
INSERT INTO "negotiator_negotiation" VALUES('6921b311-4d65-4c3e-bbc1-72c3e6061ace','csp-b','c2','initiator','terminated',6,1.79536640225852012634e+09,NULL,'{"id":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","role":"initiator","me":"csp-a","peer":"csp-b","circuit":"c2","order":null,"attachment":{"router":"r1","port":"eth1","vlan":20,"mtu":1500,"peer":null},"generation":1795366402260,"started":1795366402.2585201,"deadline":null,"state":"terminated","revision":6,"round":2,"queries":0,"offer":{"prefixes":["10.0.0.0/24"],"peer_prefixes":["10.0.0.0/24"],"need_alias":["10.0.0.0/24"],"aliases":["172.16.1.0/24","172.16.2.0/24"],"links":["169.254.100.0/31","169.254.100.2/31"],"alias_pools":["172.16.0.0/12"],"can":{"unnumbered":true,"single":true,"single_identical":true,"each_own":true,"ipv6":true,"max_prefixes":null},"mtu":1500,"translation":"auto","link":"auto","probe":"10.0.0.1"},"agreement":{"id":"6921b311-4d65-4c3e-bbc1-72c3e6061ace","circuit":"c2","order":null,"link":{"kind":"unnumbered","initiator":null,"responder":null},"mtu":1500,"translation":"single","initiator":{"member":"csp-a","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.1.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"responder":{"member":"csp-b","prefixes":[{"real":"10.0.0.0/24","alias":"172.16.1.0/24","translator":"initiator"}],"probe":"10.0.0.1"},"version":1},"document":"{\"payload\": \"eyJjaXJjdWl0IjoiYzIiLCJpZCI6IjY5MjFiMzExLTRkNjUtNGMzZS1iYmMxLTcyYzNlNjA2MWFjZSIsImluaXRpYXRvciI6eyJtZW1iZXIiOiJjc3AtYSIsInByZWZpeGVzIjpbeyJhbGlhcyI6IjE3Mi4xNi4xLjAvMjQiLCJyZWFsIjoiMTAuMC4wLjAvMjQiLCJ0cmFuc2xhdG9yIjoiaW5pdGlhdG9yIn1dLCJwcm9iZSI6IjEwLjAuMC4xIn0sImxpbmsiOnsiaW5pdGlhdG9yIjpudWxsLCJraW5kIjoidW5udW1iZXJlZCIsInJlc3BvbmRlciI6bnVsbH0sIm10dSI6MTUwMCwib3JkZXIiOm51bGwsInJlc3BvbmRlciI6eyJtZW1iZXIiOiJjc3AtYiIsInByZWZpeGVzIjpbeyJhbGlhcyI6IjE3Mi4xNi4xLjAvMjQiLCJyZWFsIjoiMTAuMC4wLjAvMjQiLCJ0cmFuc2xhdG9yIjoiaW5pdGlhdG9yIn1dLCJwcm9iZSI6IjEwLjAuMC4xIn0sInRyYW5zbGF0aW9uIjoic2luZ2xlIiwidmVyc2lvbiI6MX0\", \"signatures\": [{\"protected\": \"eyJhbGciOiJFUzI1NiIsImtpZCI6ImNzcC1iIn0\", \"signature\": \"pm-CVo0IwKqauedHDwvVoakkSP5fU1n-HBw6TRjBlJYwV1-gNeYGsVzeVXggQyINbg7BndunxHnihiLmohP2IA\"}, {\"protected\": \"eyJhbGciOiJFUzI1NiIsImtpZCI6ImNzcC1hIn0\", \"signature\": \"eXGsqGfZ4YLRb0I2EIU2_5Ynq2mMxK_3N6qRfqQh_QJ8G7sJAe6k7qvtpb7eUjpFP4YQ6mthwHAqLp_p1bKOSQ\"}]}","device":"absent","verified":"path","probe_done":true,"peer_ready":true,"peer_verified":"path","peer_ended":true,"peer_lost":false,"released":false,"pending":[],"problem":null,"superseded_by":null,"left_on_device":[],"health":{"state":"up","rtt_ms":0.1,"loss":0.0},"steps":[{"name":"propose","seconds":0.7016680240631104,"ok":true},{"name":"configure","seconds":1.013310432434082,"ok":true},{"name":"probe","seconds":1.099778652191162,"ok":true},{"name":"peer_ready","seconds":1.2249295711517334,"ok":true},{"name":"active","seconds":1.5048480033874512,"ok":true},{"name":"terminate","seconds":1.7922015190124512,"ok":true},{"name":"terminated","seconds":2.220909595489502,"ok":true}],"probe_target":null}');
CREATE TABLE negotiator_request (
	negotiation TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (negotiation)
);
INSERT INTO "negotiator_request" VALUES('9be92eb3-6a40-468c-8196-77c1f4dbd9d8','{}');
INSERT INTO "negotiator_request" VALUES('6921b311-4d65-4c3e-bbc1-72c3e6061ace','{}');
CREATE TABLE negotiator_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT negotiator_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "negotiator_version" VALUES('0002');
CREATE TABLE runtime_effect (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	machine TEXT NOT NULL, 
	instance TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	body TEXT NOT NULL, 
	due DOUBLE NOT NULL, 
	owner TEXT, 
	token INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	note TEXT NOT NULL, 
	UNIQUE (machine, instance, "key")
);
INSERT INTO "runtime_effect" VALUES(10,'negotiation','9be92eb3-6a40-468c-8196-77c1f4dbd9d8','timer:CompareDue','wake','{"event": "CompareDue"}',1.79536643196962428098e+09,NULL,1,0,'');
CREATE TABLE runtime_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT runtime_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "runtime_version" VALUES('0001');
CREATE INDEX runtime_effect_due ON runtime_effect (machine, due);
CREATE INDEX negotiator_negotiation_circuit ON negotiator_negotiation (circuit, state);
CREATE INDEX negotiator_negotiation_peer ON negotiator_negotiation (peer, state);
CREATE INDEX negotiator_claim_value ON negotiator_claim (kind, value);
CREATE INDEX negotiator_claim_first ON negotiator_claim (kind, first);
CREATE INDEX negotiator_message_expires ON negotiator_message (expires);
CREATE INDEX negotiator_event_negotiation ON negotiator_event (negotiation, sequence);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('negotiator_event',22);
INSERT INTO "sqlite_sequence" VALUES('runtime_effect',24);
COMMIT;
