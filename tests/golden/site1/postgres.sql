--
-- PostgreSQL database dump
--

\restrict 6EXKGfUays8bdlL5l0l5XBuoMiZsXQAY4Sp5kG9lZQy4Fvsrk5bsi9Eu6dtakGm

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: account; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.account (
    guid character varying(36) NOT NULL,
    login character varying(200) NOT NULL,
    password text NOT NULL,
    roles text DEFAULT '["administrator"]'::text NOT NULL,
    projects text,
    time_zone character varying(64) DEFAULT 'UTC'::character varying NOT NULL
);


--
-- Name: alembic_version; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);


--
-- Name: answer_part; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.answer_part (
    question character varying(36) NOT NULL,
    number integer NOT NULL,
    body bytea NOT NULL,
    last boolean NOT NULL,
    error text
);


--
-- Name: api_token; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.api_token (
    guid character varying(36) NOT NULL,
    name character varying(200) NOT NULL,
    token character varying(64) NOT NULL,
    account character varying(36) NOT NULL,
    roles text NOT NULL,
    created bigint NOT NULL,
    expires bigint
);


--
-- Name: audit; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.audit (
    number bigint NOT NULL,
    "time" bigint NOT NULL,
    caller character varying(36) NOT NULL,
    login character varying(200) NOT NULL,
    operation character varying(200) NOT NULL,
    subject character varying(80),
    before text,
    after text
);


--
-- Name: audit_number_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.audit_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: audit_number_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.audit_number_seq OWNED BY public.audit.number;


--
-- Name: backup; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.backup (
    guid character varying(36) NOT NULL,
    entity character varying(36) NOT NULL,
    entity_name character varying(400) NOT NULL,
    destination character varying(36) NOT NULL,
    location character varying(36) NOT NULL,
    type character varying(20) NOT NULL,
    status character varying(20) NOT NULL,
    status_info text,
    created bigint NOT NULL,
    snapshot_time bigint,
    stored_time bigint,
    size bigint NOT NULL,
    read bigint NOT NULL,
    stored bigint NOT NULL,
    parent character varying(36),
    project character varying(80),
    origin text DEFAULT '{}'::text NOT NULL,
    rule character varying(36),
    description text,
    warnings text DEFAULT '[]'::text NOT NULL,
    acknowledged boolean DEFAULT false NOT NULL,
    hint character varying(20) DEFAULT 'STANDARD_RETENTION'::character varying NOT NULL,
    keep_until bigint,
    files text DEFAULT '[]'::text NOT NULL,
    definition text DEFAULT '{}'::text NOT NULL,
    times text DEFAULT '{}'::text NOT NULL,
    gone boolean DEFAULT false NOT NULL,
    level character varying(20) DEFAULT 'STORED'::character varying NOT NULL,
    consistency character varying(20),
    volumes text DEFAULT '[]'::text NOT NULL
);


--
-- Name: base; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.base (
    entity character varying(36) NOT NULL,
    destination character varying(36) NOT NULL,
    backup character varying(36) NOT NULL,
    checkpoint character varying(120)
);


--
-- Name: destination; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.destination (
    guid character varying(36) NOT NULL,
    name character varying(200) NOT NULL,
    driver character varying(40) NOT NULL,
    config text NOT NULL,
    node character varying(36),
    repository character varying(36),
    sealed_key text NOT NULL,
    settings text DEFAULT '{}'::text NOT NULL,
    total_space bigint,
    used_space bigint
);


--
-- Name: enrolment; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.enrolment (
    token character varying(64) NOT NULL,
    expires bigint NOT NULL
);


--
-- Name: entity; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.entity (
    guid character varying(36) NOT NULL,
    uuid character varying(80) NOT NULL,
    name character varying(400) NOT NULL,
    type character varying(20) NOT NULL,
    hypervisor character varying(36) NOT NULL,
    present boolean NOT NULL,
    disks text NOT NULL,
    seen bigint NOT NULL,
    project character varying(80),
    settings text DEFAULT '{}'::text NOT NULL,
    facts text DEFAULT '{}'::text NOT NULL,
    hardware text DEFAULT '{}'::text NOT NULL
);


--
-- Name: hypervisor; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.hypervisor (
    guid character varying(36) NOT NULL,
    name character varying(200) NOT NULL,
    driver character varying(40) NOT NULL,
    config text NOT NULL,
    node character varying(36),
    settings text DEFAULT '{}'::text NOT NULL
);


--
-- Name: idempotency; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.idempotency (
    caller character varying(36) NOT NULL,
    key character varying(200) NOT NULL,
    request character varying(64) NOT NULL,
    tasks text NOT NULL,
    created bigint NOT NULL
);


--
-- Name: log_line; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.log_line (
    task character varying(36) NOT NULL,
    number integer NOT NULL,
    "time" bigint NOT NULL,
    attempt integer NOT NULL,
    text text NOT NULL
);


--
-- Name: login; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.login (
    token character varying(64) NOT NULL,
    account character varying(36) NOT NULL,
    expires bigint NOT NULL
);


--
-- Name: mounted_backup; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.mounted_backup (
    guid character varying(36) NOT NULL,
    backup character varying(36) NOT NULL,
    entity character varying(36) NOT NULL,
    entity_name character varying(400) NOT NULL,
    node character varying(36) NOT NULL,
    mode character varying(20) NOT NULL,
    state character varying(12) NOT NULL,
    created bigint NOT NULL,
    mounted bigint,
    unmount_at bigint,
    keep bigint NOT NULL,
    wanted text NOT NULL,
    found text NOT NULL,
    snapshot_time bigint,
    size bigint NOT NULL,
    project character varying(80),
    hypervisor character varying(36),
    machine character varying(80)
);


--
-- Name: mounted_volume; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.mounted_volume (
    guid character varying(36) NOT NULL,
    mount character varying(36) NOT NULL,
    number integer NOT NULL,
    body text NOT NULL
);


--
-- Name: node; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.node (
    guid character varying(36) NOT NULL,
    name character varying(200) NOT NULL,
    secret character varying(64) NOT NULL,
    session character varying(36),
    token character varying(64),
    version character varying(40) NOT NULL,
    created bigint NOT NULL,
    seen bigint,
    staging_total bigint NOT NULL,
    staging_used bigint NOT NULL,
    restore_roots text NOT NULL,
    config character varying(36),
    protocol integer DEFAULT 1 NOT NULL
);


--
-- Name: proof; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.proof (
    backup character varying(36) NOT NULL,
    "time" bigint NOT NULL,
    evidence text NOT NULL,
    signature text NOT NULL
);


--
-- Name: question; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.question (
    guid character varying(36) NOT NULL,
    node character varying(36) NOT NULL,
    created bigint NOT NULL,
    offered bigint NOT NULL,
    body text NOT NULL
);


--
-- Name: record; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.record (
    guid character varying(36) NOT NULL,
    kind character varying(40) NOT NULL,
    name character varying(400) NOT NULL,
    parent character varying(36) NOT NULL,
    project character varying(80),
    body text NOT NULL,
    created bigint NOT NULL,
    modified bigint NOT NULL
);


--
-- Name: restore_job; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.restore_job (
    guid character varying(36) NOT NULL,
    type character varying(24) NOT NULL,
    status character varying(20) NOT NULL,
    status_info text,
    entity character varying(36) NOT NULL,
    entity_name character varying(400) NOT NULL,
    backup character varying(36) NOT NULL,
    snapshot_time bigint,
    size bigint NOT NULL,
    project character varying(80),
    created bigint NOT NULL,
    finished bigint,
    target text NOT NULL,
    times text NOT NULL
);


--
-- Name: slot; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.slot (
    key character varying(96) NOT NULL,
    used integer NOT NULL,
    most integer NOT NULL
);


--
-- Name: snapshot; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshot (
    guid character varying(36) NOT NULL,
    entity character varying(36) NOT NULL,
    uuid character varying(200) NOT NULL,
    created bigint NOT NULL,
    snapshot_time bigint NOT NULL,
    managed boolean NOT NULL,
    consistency character varying(20),
    description text,
    rule character varying(36),
    policy character varying(36),
    project character varying(80)
);


--
-- Name: task; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.task (
    guid character varying(36) NOT NULL,
    type character varying(40) NOT NULL,
    lane character varying(16) NOT NULL,
    state character varying(12) NOT NULL,
    priority integer NOT NULL,
    rank bigint NOT NULL,
    window_start bigint NOT NULL,
    window_end bigint NOT NULL,
    window_length bigint NOT NULL,
    created bigint NOT NULL,
    modified bigint NOT NULL,
    started bigint,
    finished bigint,
    progress double precision NOT NULL,
    status_info text,
    backup_type character varying(20),
    retry_count integer NOT NULL,
    tries integer NOT NULL,
    refs text NOT NULL,
    params text NOT NULL,
    results text NOT NULL,
    follows character varying(36),
    workflow character varying(36) NOT NULL,
    project character varying(80),
    pinned_node character varying(36) NOT NULL,
    source_slot character varying(80),
    entity_slot character varying(80),
    slots text NOT NULL,
    attempt integer NOT NULL,
    node character varying(36),
    session character varying(36),
    lease_until bigint,
    ready boolean NOT NULL,
    cancel_wanted boolean NOT NULL,
    archived boolean NOT NULL,
    run character varying(36) DEFAULT ''::character varying NOT NULL,
    entity character varying(36),
    backup character varying(36),
    destination character varying(36),
    hypervisor character varying(36),
    manager character varying(36),
    storage_provider character varying(36),
    mounted_backup character varying(36),
    restore_job character varying(36),
    schedule character varying(36),
    names text DEFAULT ''::text NOT NULL,
    destination_slot character varying(80)
);


--
-- Name: audit number; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.audit ALTER COLUMN number SET DEFAULT nextval('public.audit_number_seq'::regclass);


--
-- Data for Name: account; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.account VALUES ('d0249ff1-6aa0-44e8-91c2-58bc697d1b1a', 'admin', '$argon2id$v=19$m=65536,t=3,p=4$yQvRwfgbM/1cUAmPfWQ5Ew$KuNb5wUmC+/ToAoNUC6GXVlfuL+yDPxKnmGDwdDkfuQ', '["administrator"]', NULL, 'UTC');


--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.alembic_version VALUES ('0006');


--
-- Data for Name: answer_part; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: api_token; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: audit; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.audit VALUES (1, 1795832763479, 'd0249ff1-6aa0-44e8-91c2-58bc697d1b1a', 'admin', 'invite node', NULL, NULL, NULL);
INSERT INTO public.audit VALUES (2, 1795832763863, '00000000-0000-0000-0000-000000000000', 'system', 'enrol node', '1862628d-8101-4a10-90b2-9634228d2414', NULL, '{"name":"n1"}');
INSERT INTO public.audit VALUES (3, 1795832763918, 'd0249ff1-6aa0-44e8-91c2-58bc697d1b1a', 'admin', 'add destination', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', NULL, '{"guid":"d3bd0cb7-b423-4f09-8a01-3e0f118122b2","name":"bd","driver":"folder","config":{"path":"/tmp/haulback-golden/postgres/repository"},"repository":null,"node":"1862628d-8101-4a10-90b2-9634228d2414","settings":{},"total_space":null,"used_space":null,"may_delete":false}');
INSERT INTO public.audit VALUES (4, 1795832763979, 'd0249ff1-6aa0-44e8-91c2-58bc697d1b1a', 'admin', 'add hypervisor', 'a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', NULL, '{"guid":"a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597","name":"hv","driver":"image-folder","config":{"path":"/tmp/haulback-golden/postgres/machines"},"node":"1862628d-8101-4a10-90b2-9634228d2414","settings":{}}');
INSERT INTO public.audit VALUES (5, 1795832764042, 'd0249ff1-6aa0-44e8-91c2-58bc697d1b1a', 'admin', 'submit inventory-sync', '04e61df1-9669-4e8e-97ea-78c66041f2fc', NULL, '{"tasks":["04e61df1-9669-4e8e-97ea-78c66041f2fc"],"count":1}');
INSERT INTO public.audit VALUES (6, 1795832764103, 'd0249ff1-6aa0-44e8-91c2-58bc697d1b1a', 'admin', 'submit export', '82392b23-15d9-4d89-82ca-34e47227734d', NULL, '{"tasks":["82392b23-15d9-4d89-82ca-34e47227734d"],"count":1}');
INSERT INTO public.audit VALUES (7, 1795832764295, 'd0249ff1-6aa0-44e8-91c2-58bc697d1b1a', 'admin', 'submit export', '9882a52d-46e8-4f96-8e51-6b43a3d5675e', NULL, '{"tasks":["9882a52d-46e8-4f96-8e51-6b43a3d5675e"],"count":1}');
INSERT INTO public.audit VALUES (8, 1795832764479, 'd0249ff1-6aa0-44e8-91c2-58bc697d1b1a', 'admin', 'submit export', '4836b840-949f-423d-950e-c479285ff79c', NULL, '{"tasks":["4836b840-949f-423d-950e-c479285ff79c"],"count":1}');
INSERT INTO public.audit VALUES (9, 1795832764730, 'd0249ff1-6aa0-44e8-91c2-58bc697d1b1a', 'admin', 'add vm backup', '231bed00-ee19-432b-b062-27031df558c9', NULL, '{"guid":"231bed00-ee19-432b-b062-27031df558c9","kind":"vm-backup","name":"gold","parent":"","project":null,"body":{"active":true,"priority":50,"description":"","backupRetryCount":0,"autoAssignMode":"DISABLED"},"created":1795832764730,"modified":1795832764730}');
INSERT INTO public.audit VALUES (10, 1795832764742, 'd0249ff1-6aa0-44e8-91c2-58bc697d1b1a', 'admin', 'submit export', 'dbece738-61eb-46ee-abc9-ce6a79aa55db', NULL, '{"tasks":["dbece738-61eb-46ee-abc9-ce6a79aa55db"],"count":1}');


--
-- Data for Name: backup; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup VALUES ('da2a8462-7207-4693-9deb-c8654ba9410b', '21a7e6ba-a243-427b-8dc6-770439e359b5', 'db', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', '690dc23d-42cd-4612-afea-a169eafef590', 'FULL', 'SUCCESS', NULL, 1795832764295, 1795832764314, 1795832764443, 2097152, 2097152, 0, NULL, NULL, '{"guid":"d0249ff1-6aa0-44e8-91c2-58bc697d1b1a","name":"admin","type":{"name":"USER","description":"User"}}', NULL, NULL, '[]', false, 'STANDARD_RETENTION', NULL, '[{"name":"root","size":2097152,"format":"raw"}]', '{"uuid":"00000000-0000-4000-8000-000000000001","name":"db","disks":[{"name":"root","file":"root.raw","format":"raw"}]}', '{"queuedExportTime":8,"exportTime":17,"queuedStoreTime":6,"storeTime":117}', false, 'STORED', 'STOPPED', '[]');
INSERT INTO public.backup VALUES ('73594e3c-4d86-44be-9456-0738606631a7', 'cd887c01-5f21-4aa9-96ff-7dfa16ebb69e', 'web', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', '8a5590df-bd4f-4221-8918-c32db78f2938', 'FULL', 'SUCCESS', NULL, 1795832764103, 1795832764125, 1795832764244, 1048576, 1048576, 6767, NULL, NULL, '{"guid":"d0249ff1-6aa0-44e8-91c2-58bc697d1b1a","name":"admin","type":{"name":"USER","description":"User"}}', NULL, NULL, '[]', false, 'STANDARD_RETENTION', NULL, '[{"name":"root","size":1048576,"format":"raw"}]', '{"uuid":"00000000-0000-4000-8000-000000000000","name":"web","disks":[{"name":"root","file":"root.raw","format":"raw"}]}', '{"queuedExportTime":13,"exportTime":22,"queuedStoreTime":10,"storeTime":96}', false, 'STORED', 'STOPPED', '[]');
INSERT INTO public.backup VALUES ('7bb5002e-2c0b-4b78-96a7-fcc165df868e', 'cd887c01-5f21-4aa9-96ff-7dfa16ebb69e', 'web', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', '76e7f69d-ce08-4cb7-aa67-172f05c19871', 'INCREMENTAL', 'SUCCESS', NULL, 1795832764479, 1795832764496, 1795832764599, 1048576, 1048576, 3720, '73594e3c-4d86-44be-9456-0738606631a7', NULL, '{"guid":"d0249ff1-6aa0-44e8-91c2-58bc697d1b1a","name":"admin","type":{"name":"USER","description":"User"}}', NULL, NULL, '["root is read whole: raw images have no changed-block tracking"]', false, 'STANDARD_RETENTION', NULL, '[{"name":"root","size":1048576,"format":"raw"}]', '{"uuid":"00000000-0000-4000-8000-000000000000","name":"web","disks":[{"name":"root","file":"root.raw","format":"raw"}]}', '{"queuedExportTime":9,"exportTime":21,"queuedStoreTime":7,"storeTime":83}', false, 'STORED', 'STOPPED', '[]');
INSERT INTO public.backup VALUES ('787928d0-9c52-49aa-9a39-d162fbb8bbcc', '21a7e6ba-a243-427b-8dc6-770439e359b5', 'db', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', 'c872a3fe-7d93-4a09-9340-b9d74c34e001', 'FULL', 'INPROGRESS', NULL, 1795832764742, 1795832765109, NULL, 2097152, 2097152, 0, NULL, NULL, '{"guid":"d0249ff1-6aa0-44e8-91c2-58bc697d1b1a","name":"admin","type":{"name":"USER","description":"User"}}', NULL, NULL, '[]', false, 'STANDARD_RETENTION', NULL, '[{"name":"root","size":2097152,"format":"raw"}]', '{"uuid":"00000000-0000-4000-8000-000000000001","name":"db","disks":[{"name":"root","file":"root.raw","format":"raw"}]}', '{"queuedExportTime":358,"exportTime":24}', false, 'STORED', 'STOPPED', '[]');


--
-- Data for Name: base; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.base VALUES ('21a7e6ba-a243-427b-8dc6-770439e359b5', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', 'da2a8462-7207-4693-9deb-c8654ba9410b', NULL);
INSERT INTO public.base VALUES ('cd887c01-5f21-4aa9-96ff-7dfa16ebb69e', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', '7bb5002e-2c0b-4b78-96a7-fcc165df868e', NULL);


--
-- Data for Name: destination; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.destination VALUES ('d3bd0cb7-b423-4f09-8a01-3e0f118122b2', 'bd', 'folder', '{"path":"/tmp/haulback-golden/postgres/repository"}', '1862628d-8101-4a10-90b2-9634228d2414', 'ed9b971c-181c-434b-bc5f-ca925a8416db', 'vO0UA/2A40F81pL0fi/U0V6Yy+vwKp36I7Ibjwf3vDj5zNnjyRB4qEkmZuw9sD1AeNwML85Mm+3Nh38A', '{}', 270553174016, 186936352768);


--
-- Data for Name: enrolment; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: entity; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.entity VALUES ('21a7e6ba-a243-427b-8dc6-770439e359b5', '00000000-0000-4000-8000-000000000001', 'db', 'VM', 'a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', true, '[{"name":"root","size":2097152,"format":"raw"}]', 1795832764055, NULL, '{}', '{"lastSuccessfulFullBackup":{"guid":"da2a8462-7207-4693-9deb-c8654ba9410b","time":1795832764314},"lastSuccessfulFullBackupSize":2097152,"lastBackup":1795832764314,"lastSuccessfulBackupSize":2097152}', '{"cards":[],"tags":[]}');
INSERT INTO public.entity VALUES ('cd887c01-5f21-4aa9-96ff-7dfa16ebb69e', '00000000-0000-4000-8000-000000000000', 'web', 'VM', 'a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', true, '[{"name":"root","size":1048576,"format":"raw"}]', 1795832764055, NULL, '{}', '{"lastSuccessfulFullBackup":{"guid":"73594e3c-4d86-44be-9456-0738606631a7","time":1795832764125},"lastSuccessfulFullBackupSize":1048576,"lastSuccessfulIncBackup":{"guid":"7bb5002e-2c0b-4b78-96a7-fcc165df868e","time":1795832764496},"lastSuccessfulIncBackupSize":1048576,"lastBackup":1795832764496,"lastSuccessfulBackupSize":1048576}', '{"cards":[],"tags":[]}');


--
-- Data for Name: hypervisor; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.hypervisor VALUES ('a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', 'hv', 'image-folder', '{"path":"/tmp/haulback-golden/postgres/machines"}', '1862628d-8101-4a10-90b2-9634228d2414', '{}');


--
-- Data for Name: idempotency; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: log_line; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.log_line VALUES ('4836b840-949f-423d-950e-c479285ff79c', 1, 1795832764503, 1, 'root is read whole: raw images have no changed-block tracking');


--
-- Data for Name: login; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.login VALUES ('3acd64dbf66d84d4ff2e2e71e62f628d228f10924ac9fc99e10255bba13b8870', 'd0249ff1-6aa0-44e8-91c2-58bc697d1b1a', 1795875963473);


--
-- Data for Name: mounted_backup; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: mounted_volume; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: node; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.node VALUES ('1862628d-8101-4a10-90b2-9634228d2414', 'n1', 'fe135e984d8252df27846b397093651942fa7f0083a41625aadaa4143517abb0', '2d47d594-40f0-4d56-83b8-1b88bcfdb544', '25b407afb671ca526d93b8c13f54695dec1ab74ed6d2451d30bff5b535516061', '0.1.0', 1795832763863, 1795832765089, 0, 0, '["/tmp/haulback-golden/postgres/restores"]', NULL, 1);


--
-- Data for Name: proof; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: question; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: record; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.record VALUES ('231bed00-ee19-432b-b062-27031df558c9', 'vm-backup', 'gold', '', NULL, '{"active":true,"priority":50,"description":"","backupRetryCount":0,"autoAssignMode":"DISABLED"}', 1795832764730, 1795832764730);


--
-- Data for Name: restore_job; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: slot; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.slot VALUES ('entity:21a7e6ba-a243-427b-8dc6-770439e359b5', 1, 1);


--
-- Data for Name: snapshot; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: task; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.task VALUES ('aead959c-cfdd-430b-953b-e88dd247a130', 'STAGING_CLEANUP', 'upkeep', 'FINISHED', 50, 1795802763872, 1795832763872, 1795836363872, 3600000, 1795832763872, 1795832763899, 1795832763885, 1795832763899, 100, NULL, NULL, 0, 0, '{"node":{"guid":"1862628d-8101-4a10-90b2-9634228d2414","name":"n1"}}', '{}', '{"removed":0,"held":{},"dataTransferRate":{"transferRate":0.0,"transferredBytes":0,"timestamp":1795832763894}}', NULL, 'aead959c-cfdd-430b-953b-e88dd247a130', NULL, '1862628d-8101-4a10-90b2-9634228d2414', NULL, NULL, '[]', 1, '1862628d-8101-4a10-90b2-9634228d2414', '3ebce7c8-2b17-4c21-9128-7171d0f9c44b', NULL, false, false, false, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'n1', NULL);
INSERT INTO public.task VALUES ('768cdfd9-4804-4551-97e5-35f8d4e233cb', 'BACKUP_DESTINATION_INIT', 'upkeep', 'FINISHED', 50, 1795802763918, 1795832763918, 1795836363918, 3600000, 1795832763918, 1795832763939, 1795832763926, 1795832763939, 100, NULL, NULL, 0, 0, '{"backupDestination":{"guid":"d3bd0cb7-b423-4f09-8a01-3e0f118122b2","name":"bd"}}', '{}', '{"repository":"ed9b971c-181c-434b-bc5f-ca925a8416db","totalSpace":270553174016,"freeSpace":83617095680,"dataTransferRate":{"transferRate":0.0,"transferredBytes":0,"timestamp":1795832763936}}', NULL, '768cdfd9-4804-4551-97e5-35f8d4e233cb', NULL, '1862628d-8101-4a10-90b2-9634228d2414', NULL, NULL, '[]', 1, '1862628d-8101-4a10-90b2-9634228d2414', '3ebce7c8-2b17-4c21-9128-7171d0f9c44b', NULL, false, false, false, '', NULL, NULL, 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', NULL, NULL, NULL, NULL, NULL, NULL, 'bd', NULL);
INSERT INTO public.task VALUES ('3a9eb5bf-fb70-4f51-8be8-d29fd3784ef5', 'INVENTORY_SYNC', 'inventory', 'FINISHED', 50, 1795802763979, 1795832763979, 1795836363979, 3600000, 1795832763979, 1795832764000, 1795832763990, 1795832764000, 100, NULL, NULL, 0, 0, '{"hypervisor":{"guid":"a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597","name":"hv"}}', '{}', '{"machines":[{"uuid":"00000000-0000-4000-8000-000000000001","name":"db","disks":[{"name":"root","size":2097152,"format":"raw"}],"snapshots":[],"hardware":{"cards":[],"tags":[]}},{"uuid":"00000000-0000-4000-8000-000000000000","name":"web","disks":[{"name":"root","size":1048576,"format":"raw"}],"snapshots":[],"hardware":{"cards":[],"tags":[]}}],"problems":0,"dataTransferRate":{"transferRate":0.0,"transferredBytes":0,"timestamp":1795832763996}}', NULL, '3a9eb5bf-fb70-4f51-8be8-d29fd3784ef5', NULL, '1862628d-8101-4a10-90b2-9634228d2414', NULL, NULL, '[]', 1, '1862628d-8101-4a10-90b2-9634228d2414', '3ebce7c8-2b17-4c21-9128-7171d0f9c44b', NULL, false, false, false, '', NULL, NULL, NULL, 'a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', NULL, NULL, NULL, NULL, NULL, 'hv', NULL);
INSERT INTO public.task VALUES ('04e61df1-9669-4e8e-97ea-78c66041f2fc', 'INVENTORY_SYNC', 'inventory', 'FINISHED', 50, 1795802764042, 1795832764042, 1795836364042, 3600000, 1795832764042, 1795832764055, 1795832764048, 1795832764055, 100, NULL, NULL, 0, 0, '{"hypervisor":{"guid":"a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597","name":"hv"},"originEntity":{"guid":"d0249ff1-6aa0-44e8-91c2-58bc697d1b1a","name":"admin","type":{"name":"USER","description":"User"}}}', '{}', '{"machines":[{"uuid":"00000000-0000-4000-8000-000000000001","name":"db","disks":[{"name":"root","size":2097152,"format":"raw"}],"snapshots":[],"hardware":{"cards":[],"tags":[]}},{"uuid":"00000000-0000-4000-8000-000000000000","name":"web","disks":[{"name":"root","size":1048576,"format":"raw"}],"snapshots":[],"hardware":{"cards":[],"tags":[]}}],"problems":0,"dataTransferRate":{"transferRate":0.0,"transferredBytes":0,"timestamp":1795832764052}}', NULL, '04e61df1-9669-4e8e-97ea-78c66041f2fc', NULL, '1862628d-8101-4a10-90b2-9634228d2414', NULL, NULL, '[]', 1, '1862628d-8101-4a10-90b2-9634228d2414', '3ebce7c8-2b17-4c21-9128-7171d0f9c44b', NULL, false, false, false, '', NULL, NULL, NULL, 'a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', NULL, NULL, NULL, NULL, NULL, 'hv
admin', NULL);
INSERT INTO public.task VALUES ('9882a52d-46e8-4f96-8e51-6b43a3d5675e', 'EXPORT', 'export', 'FINISHED', 50, 1795802764295, 1795832764295, 1795850764295, 18000000, 1795832764295, 1795832764320, 1795832764303, 1795832764320, 100, NULL, 'FULL', 0, 0, '{"protectedEntity":{"guid":"21a7e6ba-a243-427b-8dc6-770439e359b5","name":"db","type":{"name":"VM","description":"Vm"}},"hypervisor":{"guid":"a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597","name":"hv"},"backupDestination":{"guid":"d3bd0cb7-b423-4f09-8a01-3e0f118122b2","name":"bd"},"backup":{"guid":"da2a8462-7207-4693-9deb-c8654ba9410b","name":"db"},"originEntity":{"guid":"d0249ff1-6aa0-44e8-91c2-58bc697d1b1a","name":"admin","type":{"name":"USER","description":"User"}}}', '{"incSnapRequired":false}', '{"type":"FULL","snapshotTime":1795832764314,"size":2097152,"read":2097152,"stored":0,"files":[{"name":"root","size":2097152,"format":"raw"}],"definition":{"uuid":"00000000-0000-4000-8000-000000000001","name":"db","disks":[{"name":"root","file":"root.raw","format":"raw"}]},"warnings":[],"consistency":"STOPPED","dataTransferRate":{"transferRate":240383687.4,"transferredBytes":2097152,"timestamp":1795832764317}}', NULL, '9882a52d-46e8-4f96-8e51-6b43a3d5675e', NULL, '1862628d-8101-4a10-90b2-9634228d2414', 'source:a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597:export', 'entity:21a7e6ba-a243-427b-8dc6-770439e359b5', '[]', 1, '1862628d-8101-4a10-90b2-9634228d2414', '3ebce7c8-2b17-4c21-9128-7171d0f9c44b', NULL, false, false, false, '3f196e35-f25b-4949-90e3-61859c37e693', '21a7e6ba-a243-427b-8dc6-770439e359b5', 'da2a8462-7207-4693-9deb-c8654ba9410b', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', 'a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', NULL, NULL, NULL, NULL, NULL, 'db
hv
bd
db
admin', NULL);
INSERT INTO public.task VALUES ('173d1a41-af20-4d1b-a373-a2f1a947908f', 'STORE', 'store', 'FINISHED', 50, 1795802764320, 1795832764320, 1795850764320, 18000000, 1795832764295, 1795832764443, 1795832764326, 1795832764443, 100, NULL, 'FULL', 0, 0, '{"protectedEntity":{"guid":"21a7e6ba-a243-427b-8dc6-770439e359b5","name":"db","type":{"name":"VM","description":"Vm"}},"hypervisor":{"guid":"a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597","name":"hv"},"backupDestination":{"guid":"d3bd0cb7-b423-4f09-8a01-3e0f118122b2","name":"bd"},"backup":{"guid":"da2a8462-7207-4693-9deb-c8654ba9410b","name":"db"},"originEntity":{"guid":"d0249ff1-6aa0-44e8-91c2-58bc697d1b1a","name":"admin","type":{"name":"USER","description":"User"}}}', '{"incSnapRequired":false,"staging":"9882a52d-46e8-4f96-8e51-6b43a3d5675e-1","before":{"type":"FULL","snapshotTime":1795832764314,"size":2097152,"read":2097152,"stored":0,"files":[{"name":"root","size":2097152,"format":"raw"}],"definition":{"uuid":"00000000-0000-4000-8000-000000000001","name":"db","disks":[{"name":"root","file":"root.raw","format":"raw"}]},"warnings":[],"consistency":"STOPPED","dataTransferRate":{"transferRate":240383687.4,"transferredBytes":2097152,"timestamp":1795832764317}}}', '{"stored":0,"volumes":[],"totalSpace":270553174016,"freeSpace":83616870400,"dataTransferRate":{"transferRate":0.0,"transferredBytes":0,"timestamp":1795832764438}}', '9882a52d-46e8-4f96-8e51-6b43a3d5675e', '9882a52d-46e8-4f96-8e51-6b43a3d5675e', NULL, '1862628d-8101-4a10-90b2-9634228d2414', NULL, NULL, '[]', 1, '1862628d-8101-4a10-90b2-9634228d2414', '3ebce7c8-2b17-4c21-9128-7171d0f9c44b', NULL, false, false, false, '3f196e35-f25b-4949-90e3-61859c37e693', '21a7e6ba-a243-427b-8dc6-770439e359b5', 'da2a8462-7207-4693-9deb-c8654ba9410b', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', 'a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', NULL, NULL, NULL, NULL, NULL, 'db
hv
bd
db
admin', 'destination:d3bd0cb7-b423-4f09-8a01-3e0f118122b2:store');
INSERT INTO public.task VALUES ('82392b23-15d9-4d89-82ca-34e47227734d', 'EXPORT', 'export', 'FINISHED', 50, 1795802764103, 1795832764103, 1795850764103, 18000000, 1795832764103, 1795832764138, 1795832764116, 1795832764138, 100, NULL, 'FULL', 0, 0, '{"protectedEntity":{"guid":"cd887c01-5f21-4aa9-96ff-7dfa16ebb69e","name":"web","type":{"name":"VM","description":"Vm"}},"hypervisor":{"guid":"a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597","name":"hv"},"backupDestination":{"guid":"d3bd0cb7-b423-4f09-8a01-3e0f118122b2","name":"bd"},"backup":{"guid":"73594e3c-4d86-44be-9456-0738606631a7","name":"web"},"originEntity":{"guid":"d0249ff1-6aa0-44e8-91c2-58bc697d1b1a","name":"admin","type":{"name":"USER","description":"User"}}}', '{"incSnapRequired":false}', '{"type":"FULL","snapshotTime":1795832764125,"size":1048576,"read":1048576,"stored":6767,"files":[{"name":"root","size":1048576,"format":"raw"}],"definition":{"uuid":"00000000-0000-4000-8000-000000000000","name":"web","disks":[{"name":"root","file":"root.raw","format":"raw"}]},"warnings":[],"consistency":"STOPPED","dataTransferRate":{"transferRate":102541635.6,"transferredBytes":1048576,"timestamp":1795832764132}}', NULL, '82392b23-15d9-4d89-82ca-34e47227734d', NULL, '1862628d-8101-4a10-90b2-9634228d2414', 'source:a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597:export', 'entity:cd887c01-5f21-4aa9-96ff-7dfa16ebb69e', '[]', 1, '1862628d-8101-4a10-90b2-9634228d2414', '3ebce7c8-2b17-4c21-9128-7171d0f9c44b', NULL, false, false, false, '07683916-e259-4ac0-86ad-356d7b4b9411', 'cd887c01-5f21-4aa9-96ff-7dfa16ebb69e', '73594e3c-4d86-44be-9456-0738606631a7', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', 'a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', NULL, NULL, NULL, NULL, NULL, 'web
hv
bd
web
admin', NULL);
INSERT INTO public.task VALUES ('67998b2a-0df5-46c5-8784-8d3d74c4985c', 'STORE', 'store', 'FINISHED', 50, 1795802764138, 1795832764138, 1795850764138, 18000000, 1795832764103, 1795832764244, 1795832764148, 1795832764244, 100, NULL, 'FULL', 0, 0, '{"protectedEntity":{"guid":"cd887c01-5f21-4aa9-96ff-7dfa16ebb69e","name":"web","type":{"name":"VM","description":"Vm"}},"hypervisor":{"guid":"a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597","name":"hv"},"backupDestination":{"guid":"d3bd0cb7-b423-4f09-8a01-3e0f118122b2","name":"bd"},"backup":{"guid":"73594e3c-4d86-44be-9456-0738606631a7","name":"web"},"originEntity":{"guid":"d0249ff1-6aa0-44e8-91c2-58bc697d1b1a","name":"admin","type":{"name":"USER","description":"User"}}}', '{"incSnapRequired":false,"staging":"82392b23-15d9-4d89-82ca-34e47227734d-1","before":{"type":"FULL","snapshotTime":1795832764125,"size":1048576,"read":1048576,"stored":6767,"files":[{"name":"root","size":1048576,"format":"raw"}],"definition":{"uuid":"00000000-0000-4000-8000-000000000000","name":"web","disks":[{"name":"root","file":"root.raw","format":"raw"}]},"warnings":[],"consistency":"STOPPED","dataTransferRate":{"transferRate":102541635.6,"transferredBytes":1048576,"timestamp":1795832764132}}}', '{"stored":6767,"volumes":[],"totalSpace":270553174016,"freeSpace":83616899072,"dataTransferRate":{"transferRate":78188.5,"transferredBytes":6767,"timestamp":1795832764239}}', '82392b23-15d9-4d89-82ca-34e47227734d', '82392b23-15d9-4d89-82ca-34e47227734d', NULL, '1862628d-8101-4a10-90b2-9634228d2414', NULL, NULL, '[]', 1, '1862628d-8101-4a10-90b2-9634228d2414', '3ebce7c8-2b17-4c21-9128-7171d0f9c44b', NULL, false, false, false, '07683916-e259-4ac0-86ad-356d7b4b9411', 'cd887c01-5f21-4aa9-96ff-7dfa16ebb69e', '73594e3c-4d86-44be-9456-0738606631a7', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', 'a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', NULL, NULL, NULL, NULL, NULL, 'web
hv
bd
web
admin', 'destination:d3bd0cb7-b423-4f09-8a01-3e0f118122b2:store');
INSERT INTO public.task VALUES ('ed5dbd9a-624d-468b-ad9d-8b1c5615dd40', 'STORE', 'store', 'FINISHED', 50, 1795802764509, 1795832764509, 1795850764509, 18000000, 1795832764479, 1795832764599, 1795832764516, 1795832764599, 100, NULL, 'INCREMENTAL', 0, 0, '{"protectedEntity":{"guid":"cd887c01-5f21-4aa9-96ff-7dfa16ebb69e","name":"web","type":{"name":"VM","description":"Vm"}},"hypervisor":{"guid":"a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597","name":"hv"},"backupDestination":{"guid":"d3bd0cb7-b423-4f09-8a01-3e0f118122b2","name":"bd"},"backup":{"guid":"7bb5002e-2c0b-4b78-96a7-fcc165df868e","name":"web"},"originEntity":{"guid":"d0249ff1-6aa0-44e8-91c2-58bc697d1b1a","name":"admin","type":{"name":"USER","description":"User"}}}', '{"incSnapRequired":false,"staging":"4836b840-949f-423d-950e-c479285ff79c-1","before":{"type":"INCREMENTAL","snapshotTime":1795832764496,"size":1048576,"read":1048576,"stored":3720,"parent":"73594e3c-4d86-44be-9456-0738606631a7","files":[{"name":"root","size":1048576,"format":"raw"}],"definition":{"uuid":"00000000-0000-4000-8000-000000000000","name":"web","disks":[{"name":"root","file":"root.raw","format":"raw"}]},"warnings":["root is read whole: raw images have no changed-block tracking"],"consistency":"STOPPED","dataTransferRate":{"transferRate":143948657.2,"transferredBytes":1048576,"timestamp":1795832764501}}}', '{"stored":3720,"parent":"73594e3c-4d86-44be-9456-0738606631a7","volumes":[],"totalSpace":270553174016,"freeSpace":83616821248,"dataTransferRate":{"transferRate":51087.9,"transferredBytes":3720,"timestamp":1795832764593}}', '4836b840-949f-423d-950e-c479285ff79c', '4836b840-949f-423d-950e-c479285ff79c', NULL, '1862628d-8101-4a10-90b2-9634228d2414', NULL, NULL, '[]', 1, '1862628d-8101-4a10-90b2-9634228d2414', '3ebce7c8-2b17-4c21-9128-7171d0f9c44b', NULL, false, false, false, 'f7d44be7-79e0-44ae-a161-c09c3e2ae6a3', 'cd887c01-5f21-4aa9-96ff-7dfa16ebb69e', '7bb5002e-2c0b-4b78-96a7-fcc165df868e', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', 'a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', NULL, NULL, NULL, NULL, NULL, 'web
hv
bd
web
admin', 'destination:d3bd0cb7-b423-4f09-8a01-3e0f118122b2:store');
INSERT INTO public.task VALUES ('2b157859-c7e4-48f2-88c2-ab5fd7e0020b', 'STAGING_CLEANUP', 'upkeep', 'FINISHED', 50, 1795802765092, 1795832765092, 1795836365092, 3600000, 1795832765092, 1795832765131, 1795832765103, 1795832765131, 100, NULL, NULL, 0, 0, '{"node":{"guid":"1862628d-8101-4a10-90b2-9634228d2414","name":"n1"}}', '{}', '{"removed":0,"held":{},"dataTransferRate":{"transferRate":0.0,"transferredBytes":0,"timestamp":1795832765122}}', NULL, '2b157859-c7e4-48f2-88c2-ab5fd7e0020b', NULL, '1862628d-8101-4a10-90b2-9634228d2414', NULL, NULL, '[]', 1, '1862628d-8101-4a10-90b2-9634228d2414', '2d47d594-40f0-4d56-83b8-1b88bcfdb544', NULL, false, false, false, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'n1', NULL);
INSERT INTO public.task VALUES ('4836b840-949f-423d-950e-c479285ff79c', 'EXPORT', 'export', 'FINISHED', 50, 1795802764479, 1795832764479, 1795850764479, 18000000, 1795832764479, 1795832764509, 1795832764488, 1795832764509, 100, NULL, 'INCREMENTAL', 0, 0, '{"protectedEntity":{"guid":"cd887c01-5f21-4aa9-96ff-7dfa16ebb69e","name":"web","type":{"name":"VM","description":"Vm"}},"hypervisor":{"guid":"a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597","name":"hv"},"backupDestination":{"guid":"d3bd0cb7-b423-4f09-8a01-3e0f118122b2","name":"bd"},"backup":{"guid":"7bb5002e-2c0b-4b78-96a7-fcc165df868e","name":"web"},"originEntity":{"guid":"d0249ff1-6aa0-44e8-91c2-58bc697d1b1a","name":"admin","type":{"name":"USER","description":"User"}}}', '{"incSnapRequired":false}', '{"type":"INCREMENTAL","snapshotTime":1795832764496,"size":1048576,"read":1048576,"stored":3720,"parent":"73594e3c-4d86-44be-9456-0738606631a7","files":[{"name":"root","size":1048576,"format":"raw"}],"definition":{"uuid":"00000000-0000-4000-8000-000000000000","name":"web","disks":[{"name":"root","file":"root.raw","format":"raw"}]},"warnings":["root is read whole: raw images have no changed-block tracking"],"consistency":"STOPPED","dataTransferRate":{"transferRate":143948657.2,"transferredBytes":1048576,"timestamp":1795832764501}}', NULL, '4836b840-949f-423d-950e-c479285ff79c', NULL, '1862628d-8101-4a10-90b2-9634228d2414', 'source:a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597:export', 'entity:cd887c01-5f21-4aa9-96ff-7dfa16ebb69e', '[]', 1, '1862628d-8101-4a10-90b2-9634228d2414', '3ebce7c8-2b17-4c21-9128-7171d0f9c44b', NULL, false, false, false, 'f7d44be7-79e0-44ae-a161-c09c3e2ae6a3', 'cd887c01-5f21-4aa9-96ff-7dfa16ebb69e', '7bb5002e-2c0b-4b78-96a7-fcc165df868e', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', 'a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', NULL, NULL, NULL, NULL, NULL, 'web
hv
bd
web
admin', NULL);
INSERT INTO public.task VALUES ('ff3af6a1-0b05-425a-b9d4-4535d0fe489f', 'STORE', 'store', 'QUEUED', 50, 1795802765124, 1795832765124, 1795850765124, 18000000, 1795832764742, 1795832765124, NULL, NULL, 0, NULL, 'FULL', 0, 0, '{"protectedEntity":{"guid":"21a7e6ba-a243-427b-8dc6-770439e359b5","name":"db","type":{"name":"VM","description":"Vm"}},"hypervisor":{"guid":"a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597","name":"hv"},"backupDestination":{"guid":"d3bd0cb7-b423-4f09-8a01-3e0f118122b2","name":"bd"},"backup":{"guid":"787928d0-9c52-49aa-9a39-d162fbb8bbcc","name":"db"},"originEntity":{"guid":"d0249ff1-6aa0-44e8-91c2-58bc697d1b1a","name":"admin","type":{"name":"USER","description":"User"}}}', '{"incSnapRequired":false,"staging":"dbece738-61eb-46ee-abc9-ce6a79aa55db-1","before":{"type":"FULL","snapshotTime":1795832765109,"size":2097152,"read":2097152,"stored":0,"files":[{"name":"root","size":2097152,"format":"raw"}],"definition":{"uuid":"00000000-0000-4000-8000-000000000001","name":"db","disks":[{"name":"root","file":"root.raw","format":"raw"}]},"warnings":[],"consistency":"STOPPED","dataTransferRate":{"transferRate":144586171.2,"transferredBytes":2097152,"timestamp":1795832765118}}}', '{}', 'dbece738-61eb-46ee-abc9-ce6a79aa55db', 'dbece738-61eb-46ee-abc9-ce6a79aa55db', NULL, '1862628d-8101-4a10-90b2-9634228d2414', NULL, NULL, '["entity:21a7e6ba-a243-427b-8dc6-770439e359b5"]', 0, NULL, NULL, NULL, true, false, false, 'fd90fcad-80e1-43da-b4e3-82363f99e998', '21a7e6ba-a243-427b-8dc6-770439e359b5', '787928d0-9c52-49aa-9a39-d162fbb8bbcc', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', 'a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', NULL, NULL, NULL, NULL, NULL, 'db
hv
bd
db
admin', 'destination:d3bd0cb7-b423-4f09-8a01-3e0f118122b2:store');
INSERT INTO public.task VALUES ('dbece738-61eb-46ee-abc9-ce6a79aa55db', 'EXPORT', 'export', 'FINISHED', 50, 1795802764742, 1795832764742, 1795850764742, 18000000, 1795832764742, 1795832765124, 1795832765100, 1795832765124, 100, NULL, 'FULL', 0, 0, '{"protectedEntity":{"guid":"21a7e6ba-a243-427b-8dc6-770439e359b5","name":"db","type":{"name":"VM","description":"Vm"}},"hypervisor":{"guid":"a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597","name":"hv"},"backupDestination":{"guid":"d3bd0cb7-b423-4f09-8a01-3e0f118122b2","name":"bd"},"backup":{"guid":"787928d0-9c52-49aa-9a39-d162fbb8bbcc","name":"db"},"originEntity":{"guid":"d0249ff1-6aa0-44e8-91c2-58bc697d1b1a","name":"admin","type":{"name":"USER","description":"User"}}}', '{"incSnapRequired":false}', '{"type":"FULL","snapshotTime":1795832765109,"size":2097152,"read":2097152,"stored":0,"files":[{"name":"root","size":2097152,"format":"raw"}],"definition":{"uuid":"00000000-0000-4000-8000-000000000001","name":"db","disks":[{"name":"root","file":"root.raw","format":"raw"}]},"warnings":[],"consistency":"STOPPED","dataTransferRate":{"transferRate":144586171.2,"transferredBytes":2097152,"timestamp":1795832765118}}', NULL, 'dbece738-61eb-46ee-abc9-ce6a79aa55db', NULL, '1862628d-8101-4a10-90b2-9634228d2414', 'source:a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597:export', 'entity:21a7e6ba-a243-427b-8dc6-770439e359b5', '[]', 1, '1862628d-8101-4a10-90b2-9634228d2414', '2d47d594-40f0-4d56-83b8-1b88bcfdb544', NULL, false, false, false, 'fd90fcad-80e1-43da-b4e3-82363f99e998', '21a7e6ba-a243-427b-8dc6-770439e359b5', '787928d0-9c52-49aa-9a39-d162fbb8bbcc', 'd3bd0cb7-b423-4f09-8a01-3e0f118122b2', 'a9fb26c6-9a4a-4b0b-ad55-7cac0d4de597', NULL, NULL, NULL, NULL, NULL, 'db
hv
bd
db
admin', NULL);


--
-- Name: audit_number_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.audit_number_seq', 10, true);


--
-- Name: account account_login_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_login_key UNIQUE (login);


--
-- Name: account account_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (guid);


--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: answer_part answer_part_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.answer_part
    ADD CONSTRAINT answer_part_pkey PRIMARY KEY (question, number);


--
-- Name: api_token api_token_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_token
    ADD CONSTRAINT api_token_pkey PRIMARY KEY (guid);


--
-- Name: api_token api_token_token_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_token
    ADD CONSTRAINT api_token_token_key UNIQUE (token);


--
-- Name: audit audit_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (number);


--
-- Name: backup backup_location_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup
    ADD CONSTRAINT backup_location_key UNIQUE (location);


--
-- Name: backup backup_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup
    ADD CONSTRAINT backup_pkey PRIMARY KEY (guid);


--
-- Name: base base_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.base
    ADD CONSTRAINT base_pkey PRIMARY KEY (entity, destination);


--
-- Name: destination destination_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.destination
    ADD CONSTRAINT destination_name_key UNIQUE (name);


--
-- Name: destination destination_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.destination
    ADD CONSTRAINT destination_pkey PRIMARY KEY (guid);


--
-- Name: enrolment enrolment_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.enrolment
    ADD CONSTRAINT enrolment_pkey PRIMARY KEY (token);


--
-- Name: entity entity_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.entity
    ADD CONSTRAINT entity_pkey PRIMARY KEY (guid);


--
-- Name: hypervisor hypervisor_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.hypervisor
    ADD CONSTRAINT hypervisor_name_key UNIQUE (name);


--
-- Name: hypervisor hypervisor_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.hypervisor
    ADD CONSTRAINT hypervisor_pkey PRIMARY KEY (guid);


--
-- Name: idempotency idempotency_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (caller, key);


--
-- Name: log_line log_line_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.log_line
    ADD CONSTRAINT log_line_pkey PRIMARY KEY (task, number);


--
-- Name: login login_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.login
    ADD CONSTRAINT login_pkey PRIMARY KEY (token);


--
-- Name: mounted_backup mounted_backup_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.mounted_backup
    ADD CONSTRAINT mounted_backup_pkey PRIMARY KEY (guid);


--
-- Name: mounted_volume mounted_volume_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.mounted_volume
    ADD CONSTRAINT mounted_volume_pkey PRIMARY KEY (guid);


--
-- Name: node node_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.node
    ADD CONSTRAINT node_name_key UNIQUE (name);


--
-- Name: node node_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.node
    ADD CONSTRAINT node_pkey PRIMARY KEY (guid);


--
-- Name: proof proof_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.proof
    ADD CONSTRAINT proof_pkey PRIMARY KEY (backup);


--
-- Name: question question_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.question
    ADD CONSTRAINT question_pkey PRIMARY KEY (guid);


--
-- Name: record record_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.record
    ADD CONSTRAINT record_pkey PRIMARY KEY (guid);


--
-- Name: restore_job restore_job_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.restore_job
    ADD CONSTRAINT restore_job_pkey PRIMARY KEY (guid);


--
-- Name: slot slot_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.slot
    ADD CONSTRAINT slot_pkey PRIMARY KEY (key);


--
-- Name: snapshot snapshot_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshot
    ADD CONSTRAINT snapshot_pkey PRIMARY KEY (guid);


--
-- Name: task task_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.task
    ADD CONSTRAINT task_pkey PRIMARY KEY (guid);


--
-- Name: audit_subject; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX audit_subject ON public.audit USING btree (subject, number);


--
-- Name: backup_entity; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_entity ON public.backup USING btree (entity, created);


--
-- Name: backup_going; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_going ON public.backup USING btree (destination) WHERE (((status)::text = ANY ((ARRAY['SUCCESS_REMOVED'::character varying, 'FAILED'::character varying])::text[])) AND (NOT gone));


--
-- Name: backup_newest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_newest ON public.backup USING btree (created, guid);


--
-- Name: backup_project; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_project ON public.backup USING btree (project, created);


--
-- Name: base_checkpoint; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX base_checkpoint ON public.base USING btree (checkpoint);


--
-- Name: entity_name; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX entity_name ON public.entity USING btree (name, guid);


--
-- Name: entity_project; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX entity_project ON public.entity USING btree (project, name);


--
-- Name: entity_uuid; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX entity_uuid ON public.entity USING btree (hypervisor, uuid);


--
-- Name: idempotency_created; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idempotency_created ON public.idempotency USING btree (created);


--
-- Name: mounted_entity; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX mounted_entity ON public.mounted_backup USING btree (entity, created);


--
-- Name: mounted_newest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX mounted_newest ON public.mounted_backup USING btree (created, guid);


--
-- Name: mounted_node; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX mounted_node ON public.mounted_backup USING btree (node, state);


--
-- Name: mounted_of_backup; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX mounted_of_backup ON public.mounted_backup USING btree (backup, state);


--
-- Name: mounted_until; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX mounted_until ON public.mounted_backup USING btree (state, unmount_at);


--
-- Name: mounted_volume_of; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX mounted_volume_of ON public.mounted_volume USING btree (mount, number);


--
-- Name: node_token; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX node_token ON public.node USING btree (token);


--
-- Name: question_created; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX question_created ON public.question USING btree (created);


--
-- Name: question_node; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX question_node ON public.question USING btree (node, offered);


--
-- Name: record_kind; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX record_kind ON public.record USING btree (kind, name);


--
-- Name: record_name; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX record_name ON public.record USING btree (kind, parent, name);


--
-- Name: restore_job_entity; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX restore_job_entity ON public.restore_job USING btree (entity, created);


--
-- Name: restore_job_newest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX restore_job_newest ON public.restore_job USING btree (created, guid);


--
-- Name: snapshot_entity; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX snapshot_entity ON public.snapshot USING btree (entity, uuid);


--
-- Name: snapshot_newest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX snapshot_newest ON public.snapshot USING btree (snapshot_time, guid);


--
-- Name: snapshot_project; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX snapshot_project ON public.snapshot USING btree (project, snapshot_time);


--
-- Name: snapshot_uuid; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX snapshot_uuid ON public.snapshot USING btree (uuid);


--
-- Name: task_archived; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_archived ON public.task USING btree (finished) WHERE archived;


--
-- Name: task_closes; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_closes ON public.task USING btree (window_end) WHERE ((state)::text = 'QUEUED'::text);


--
-- Name: task_ended; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_ended ON public.task USING btree (finished) WHERE ((NOT archived) AND ((state)::text = ANY ((ARRAY['FINISHED'::character varying, 'FAILED'::character varying, 'CANCELLED'::character varying])::text[])));


--
-- Name: task_entity; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_entity ON public.task USING btree (entity, created) WHERE ((NOT archived) AND ((state)::text <> 'PLANNED'::text));


--
-- Name: task_follows; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_follows ON public.task USING btree (follows);


--
-- Name: task_heads; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_heads ON public.task USING btree (created, guid) WHERE (((guid)::text = (workflow)::text) AND (NOT archived));


--
-- Name: task_leased; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_leased ON public.task USING btree (lease_until) WHERE ((state)::text = 'RUNNING'::text);


--
-- Name: task_live; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_live ON public.task USING btree (entity, backup) WHERE ((state)::text = ANY ((ARRAY['QUEUED'::character varying, 'RUNNING'::character varying, 'PLANNED'::character varying])::text[]));


--
-- Name: task_modified; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_modified ON public.task USING btree (modified);


--
-- Name: task_newest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_newest ON public.task USING btree (created, guid, state, archived) WHERE ((NOT archived) AND ((state)::text <> 'PLANNED'::text));


--
-- Name: task_node; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_node ON public.task USING btree (node, created) WHERE ((NOT archived) AND ((state)::text <> 'PLANNED'::text));


--
-- Name: task_opens; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_opens ON public.task USING btree (window_start) WHERE (((state)::text = 'QUEUED'::text) AND (NOT ready));


--
-- Name: task_priority; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_priority ON public.task USING btree (priority, guid) WHERE ((NOT archived) AND ((state)::text <> 'PLANNED'::text));


--
-- Name: task_project; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_project ON public.task USING btree (project, created) WHERE ((NOT archived) AND ((state)::text <> 'PLANNED'::text));


--
-- Name: task_ready; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_ready ON public.task USING btree (lane, pinned_node, rank) WHERE ready;


--
-- Name: task_run; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_run ON public.task USING btree (run, type, state) WHERE ((run)::text <> ''::text);


--
-- Name: task_session; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_session ON public.task USING btree (session) WHERE ((state)::text = 'RUNNING'::text);


--
-- Name: task_state; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_state ON public.task USING btree (state, created) WHERE ((NOT archived) AND ((state)::text <> 'PLANNED'::text));


--
-- Name: task_type; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_type ON public.task USING btree (type, created) WHERE ((NOT archived) AND ((state)::text <> 'PLANNED'::text));


--
-- Name: task_window; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_window ON public.task USING btree (window_start, guid) WHERE ((NOT archived) AND ((state)::text <> 'PLANNED'::text));


--
-- Name: task_workflow; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX task_workflow ON public.task USING btree (workflow);


--
-- Name: answer_part answer_part_question_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.answer_part
    ADD CONSTRAINT answer_part_question_fkey FOREIGN KEY (question) REFERENCES public.question(guid) ON DELETE CASCADE;


--
-- Name: api_token api_token_account_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_token
    ADD CONSTRAINT api_token_account_fkey FOREIGN KEY (account) REFERENCES public.account(guid) ON DELETE CASCADE;


--
-- Name: backup backup_destination_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup
    ADD CONSTRAINT backup_destination_fkey FOREIGN KEY (destination) REFERENCES public.destination(guid);


--
-- Name: backup backup_entity_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup
    ADD CONSTRAINT backup_entity_fkey FOREIGN KEY (entity) REFERENCES public.entity(guid);


--
-- Name: base base_destination_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.base
    ADD CONSTRAINT base_destination_fkey FOREIGN KEY (destination) REFERENCES public.destination(guid);


--
-- Name: base base_entity_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.base
    ADD CONSTRAINT base_entity_fkey FOREIGN KEY (entity) REFERENCES public.entity(guid);


--
-- Name: entity entity_hypervisor_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.entity
    ADD CONSTRAINT entity_hypervisor_fkey FOREIGN KEY (hypervisor) REFERENCES public.hypervisor(guid);


--
-- Name: log_line log_line_task_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.log_line
    ADD CONSTRAINT log_line_task_fkey FOREIGN KEY (task) REFERENCES public.task(guid) ON DELETE CASCADE;


--
-- Name: login login_account_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.login
    ADD CONSTRAINT login_account_fkey FOREIGN KEY (account) REFERENCES public.account(guid) ON DELETE CASCADE;


--
-- Name: mounted_backup mounted_backup_backup_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.mounted_backup
    ADD CONSTRAINT mounted_backup_backup_fkey FOREIGN KEY (backup) REFERENCES public.backup(guid);


--
-- Name: mounted_backup mounted_backup_entity_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.mounted_backup
    ADD CONSTRAINT mounted_backup_entity_fkey FOREIGN KEY (entity) REFERENCES public.entity(guid);


--
-- Name: mounted_volume mounted_volume_mount_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.mounted_volume
    ADD CONSTRAINT mounted_volume_mount_fkey FOREIGN KEY (mount) REFERENCES public.mounted_backup(guid) ON DELETE CASCADE;


--
-- Name: proof proof_backup_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.proof
    ADD CONSTRAINT proof_backup_fkey FOREIGN KEY (backup) REFERENCES public.backup(guid);


--
-- Name: snapshot snapshot_entity_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshot
    ADD CONSTRAINT snapshot_entity_fkey FOREIGN KEY (entity) REFERENCES public.entity(guid);


--
-- PostgreSQL database dump complete
--

\unrestrict 6EXKGfUays8bdlL5l0l5XBuoMiZsXQAY4Sp5kG9lZQy4Fvsrk5bsi9Eu6dtakGm

