//! What operators write: every key, its default, and the reason for the default.
//!
//! Values here are only typed; [`super::check`] judges them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Span;
pub(crate) use super::words::{
    RawBackend, RawConsistency, RawDurability, RawFormat, RawLogFormat, RawMqttVersion, RawRetained,
    RawTimeBasis, RawTimeUnit,
};

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        #[allow(clippy::struct_field_names, reason = "a section of limits is made of keys that end in max")]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

section! {
    /// The whole configuration.
    RawConfig {
        /// Where data is kept.
        store: RawStore = RawStore::default(),
        /// How messages come in.
        ingest: RawIngest = RawIngest::default(),
        /// How what came in is ground.
        mill: RawMill = RawMill::default(),
        /// How questions are answered.
        query: RawQuery = RawQuery::default(),
        /// The HTTP server.
        http: RawHttp = RawHttp::default(),
        /// What is logged.
        log: RawLog = RawLog::default(),
        /// How long a shutdown may take before what is left is given up unacknowledged.
        shutdown_timeout: Span = Span::seconds(30),
    }
}

section! {
    /// `[store]`
    RawStore {
        /// Which store holds the data.
        backend: RawBackend = RawBackend::Embedded,
        /// The embedded store.
        embedded: RawEmbedded = RawEmbedded::default(),
        /// Cassandra.
        cassandra: RawCassandra = RawCassandra::default(),
        /// How the fleet and time are cut, applied once at install.
        first_era: RawEra = RawEra::default(),
        /// How long rejects are kept.
        rejects_retention: Span = Span::days(30),
        /// How long everything else is kept.
        retention: RawRetention = RawRetention::default(),
    }
}

section! {
    /// `[store.retention]`, counted from the end of a bucket.
    RawRetention {
        /// Raw samples; not given: for ever. Older samples are not taken either.
        raw: Option<Span> = None,
        /// Rollups by resolution, such as `{ 1m = "90days" }`; what is not named: for ever.
        rollups: BTreeMap<String, Span> = BTreeMap::new(),
    }
}

section! {
    /// `[store.embedded]`
    RawEmbedded {
        /// The directory that holds everything.
        directory: String = "tidemill-data".to_owned(),
        /// Memory for caching what was read from disk.
        cache_bytes_max: u64 = 128 << 20,
    }
}

section! {
    /// `[store.cassandra]`
    RawCassandra {
        /// Nodes to ask first, `host:port`.
        contact_points: Vec<String> = vec!["127.0.0.1:9042".to_owned()],
        /// The keyspace.
        keyspace: String = "tidemill".to_owned(),
        /// The data centre this process runs in; only its nodes are asked. Cassandra's own default name.
        local_datacenter: String = "datacenter1".to_owned(),
        /// Replicas in each data centre; empty means one in the local one, for trying things out.
        replication: BTreeMap<String, u8> = BTreeMap::new(),
        /// User, where the cluster asks for one.
        username: Option<String> = None,
        /// Password; better given by environment.
        password: Option<String> = None,
        /// Consistency of writes and reads.
        consistency: RawConsistency = RawConsistency::LocalQuorum,
        /// Whether starting up may create or migrate the schema.
        apply_schema: bool = true,
        /// How long making one connection may take.
        connect_timeout: Span = Span::seconds(5),
        /// How long one request may take; longer than the servers' own limits, so that their verdict comes first.
        request_timeout: Span = Span::seconds(6),
        /// Connections to each node.
        connections_per_host: u16 = 2,
        /// Requests under way at once.
        in_flight_max: u16 = 256,
    }
}

section! {
    /// `[store.first_era]`
    RawEra {
        /// Into how many shards devices are spread: also how many writes run at once in one ingester.
        shards: u64 = 8,
        /// How wide a bucket of event time is.
        bucket_width: Span = Span::days(1),
    }
}

section! {
    /// `[[ingest.templates]]`
    RawTemplate {
        /// The topic, with placeholders.
        topic: String = String::new(),
        /// The format of its payloads.
        format: RawFormat = RawFormat::Json,
        /// Where times come from.
        time: RawTimeBasis = RawTimeBasis::PayloadElseReceive,
        /// The unit of times in payloads; that of all topics where not given, nanoseconds in line protocol.
        time_unit: Option<RawTimeUnit> = None,
        /// How far in the past a sample may lie; as for all topics where not given.
        past_max: Option<Span> = None,
        /// How far in the future a sample may lie; as for all topics where not given.
        future_max: Option<Span> = None,
        /// The metric of scalars, where no `{metric}` in the topic names it.
        metric: Option<String> = None,
        /// The columns of CSV; the first line of each payload names them where empty.
        columns: Vec<String> = Vec::new(),
        /// The column of CSV that is the time.
        time_column: String = "ts".to_owned(),
        /// What stands between the fields of CSV.
        delimiter: String = ",".to_owned(),
    }
}

section! {
    /// `[ingest.spool]`
    RawSpool {
        /// The directory that holds it; not given: no spool, messages wait for the store.
        directory: Option<String> = None,
        /// Most bytes on disk; when they are used up, acknowledgements stop until the store takes some.
        bytes_max: u64 = 1 << 30,
        /// How long a write to the store may take before the spool takes it instead.
        store_deadline: Span = Span::seconds(2),
        /// How fast the spool is forwarded once the store is back, so that live messages are not starved.
        forward_bytes_per_second: u64 = 32 << 20,
        /// File of keys, `id:64 hexadecimal digits` a line; the last one writes, all read. Not given: no encryption.
        key_file: Option<String> = None,
    }
}

section! {
    /// `[ingest]`
    RawIngest {
        /// Topic templates of JSON; the first that matches gives tenant, device and tags.
        topics: Vec<String> = vec!["devices/{device}/telemetry".to_owned()],
        /// Topic templates with a format and time policy of their own; looked at before `topics`.
        templates: Vec<RawTemplate> = Vec::new(),
        /// The unit of numeric `ts` in payloads.
        time_unit: RawTimeUnit = RawTimeUnit::Millis,
        /// How far in the past a sample may lie. Twenty years: history may be replayed, while the clock of a device
        /// that forgot the date, which says 1970, is noticed.
        past_max: Span = Span::days(7_305),
        /// How far in the future a sample may lie: clocks of devices drift by minutes.
        future_max: Span = Span::seconds(300),
        /// Memory for messages between socket and store; when it is full, reading stops.
        memory_bytes_max: u64 = 64 << 20,
        /// How long a shard that is busy lets messages collect before it writes them; not given: 4ms in the embedded
        /// store, 20ms in Cassandra, where a write costs more.
        beat: Option<Span> = None,
        /// Most bytes of a rejected payload that are kept.
        reject_payload_bytes_max: u64 = 64 << 10,
        /// Bytes of rejects of one device that are kept a day; beyond it they are counted, but for firsts of reasons.
        reject_device_bytes_per_day_max: u64 = 16 << 20,
        /// Bytes of rejects that are kept a day, of all devices.
        reject_bytes_per_day_max: u64 = 256 << 20,
        /// Bytes of messages that wait for a birth whatever their senders have used up of the limits above.
        reject_waiting_bytes_max: u64 = 1 << 30,
        /// Most sources that one ingester keeps track of in a shard.
        sources_per_shard_max: u64 = 200_000,
        /// How long a writer leaves the mark of a bucket open in which nothing more comes: what is open is ground only
        /// in parts.
        bucket_idle: Span = Span::seconds(600),
        /// What an acknowledgement waits for.
        durability: RawDurability = RawDurability::Store,
        /// Where messages go that the store does not take in time.
        spool: RawSpool = RawSpool::default(),
        /// Limits of one message.
        message: RawMessage = RawMessage::default(),
        /// Devices connect here.
        listener: RawListener = RawListener::default(),
        /// Brokers to consume from.
        mqtt: RawMqtt = RawMqtt::default(),
    }
}

section! {
    /// `[ingest.message]`
    RawMessage {
        /// Nesting of objects.
        depth_max: u64 = 8,
        /// Metrics of one point.
        metrics_max: u64 = 1_000,
        /// Elements of an array of points.
        points_max: u64 = 10_000,
        /// Bytes of a string value.
        text_bytes_max: u64 = 4_096,
    }
}

section! {
    /// `[ingest.listener]`
    RawListener {
        /// Whether devices may connect directly.
        enabled: bool = true,
        /// Where to listen.
        bind: String = "127.0.0.1:1883".to_owned(),
        /// Whether an address that other machines reach may be bound while there is no authentication.
        insecure_allow_remote: bool = false,
        /// Connections at once.
        connections_max: u64 = 10_000,
        /// Bytes of one packet.
        packet_bytes_max: u64 = 256 << 10,
        /// Unacknowledged QoS 1 messages of one connection.
        in_flight_max: u64 = 1_000,
        /// Unacknowledged bytes of one connection.
        in_flight_bytes_max: u64 = 4 << 20,
        /// How long a new connection may take to send CONNECT.
        connect_timeout: Span = Span::seconds(10),
        /// How long a connection with keep-alive 0 may be silent.
        idle_timeout: Span = Span::seconds(3_600),
    }
}

section! {
    /// `[ingest.mqtt]`
    RawMqtt {
        /// Brokers, `mqtt://host:port` or `mqtts://host:port`; all of them are consumed. Empty: none.
        brokers: Vec<String> = Vec::new(),
        /// Protocol version.
        version: RawMqttVersion = RawMqttVersion::V5,
        /// Client ids are this, a dash and a number; they must differ between ingesters and stay the same over
        /// restarts, because the broker keeps the session by them.
        client_id_prefix: String = "tidemill".to_owned(),
        /// The `$share` group; empty subscribes plainly, for brokers without shared subscriptions.
        group: String = "tidemill".to_owned(),
        /// Connections to each broker.
        connections: u16 = 2,
        /// User.
        username: Option<String> = None,
        /// Password; better given by environment.
        password: Option<String> = None,
        /// PEM file of the authorities to trust; needed for `mqtts`.
        ca_file: Option<String> = None,
        /// PEM file of our certificate.
        client_certificate_file: Option<String> = None,
        /// PEM file of our key.
        client_key_file: Option<String> = None,
        /// How long the broker keeps the session while we are away.
        session_expiry: Span = Span::days(4),
        /// Messages that the broker kept and sends because of our subscription: `take`, or `ignore` where payloads
        /// carry no time and would count as new.
        retained: RawRetained = RawRetained::Take,
        /// Whether a stop is for good: subscriptions are taken back and what the broker still has for us is taken.
        leave_on_stop: bool = false,
        /// Keep-alive.
        keep_alive: Span = Span::seconds(30),
        /// Unacknowledged messages of one connection.
        in_flight_max: u64 = 1_000,
        /// Bytes of one packet.
        packet_bytes_max: u64 = 1 << 20,
    }
}

section! {
    /// `[mill]`
    RawMill {
        /// Widths of the windows of stored rollups; each for the buckets that it divides.
        resolutions: Vec<Span> = vec![Span::seconds(60), Span::seconds(3_600), Span::days(1)],
        /// Windows are stored where they hold at least so many samples on average; the widest always. Below that,
        /// reading the samples is cheaper.
        window_samples_min: u32 = 20,
        /// Windows at least so wide carry a quantile sketch of 1 %; not given: none do.
        sketches_from: Option<Span> = None,
        /// What came in later than this ago is left alone: by then all that came before it is stored.
        settle: Span = Span::seconds(10),
        /// Late samples of a bucket that is over are ground once none came for so long,
        late_quiet: Span = Span::seconds(120),
        /// and after this time even where more keep coming.
        late_wait_max: Span = Span::seconds(900),
        /// A bucket that is not over is ground once so many bytes wait, and more than are ground.
        tail_bytes_min: u64 = 4 << 20,
        /// One that ends within so long is left until it is over, or all of it would soon be ground once more.
        over_soon: Span = Span::seconds(300),
        /// After this time a writer that left its mark open is taken for gone.
        mark_age_max: Span = Span::days(1),
        /// How long what was replaced stays for those that still read it: longer than the longest query and the
        /// delay between replicas.
        grace: Span = Span::seconds(300),
        /// How often marks are looked at.
        interval: Span = Span::seconds(10),
        /// How often a mill says that it lives.
        beat: Span = Span::seconds(5),
        /// After this silence other mills take over its shards.
        takeover_after: Span = Span::seconds(20),
        /// Memory for the samples of one grind; larger buckets take several passes.
        memory_bytes_max: u64 = 192 << 20,
        /// Share of one processor that grinding takes.
        cpu_percent: u8 = 50,
    }
}

section! {
    /// `[query]`
    RawQuery {
        /// Samples that one query may hold in memory: a day of ten-second samples of a thousand series.
        samples_max: u64 = 10_000_000,
        /// Series that one query may touch.
        series_max: u64 = 100_000,
        /// Steps of one PromQL range query.
        points_max: u64 = 11_000,
        /// Bytes of one answer.
        response_bytes_max: u64 = 32 << 20,
        /// How long one query may take.
        timeout: Span = Span::seconds(30),
        /// Queries at once,
        concurrency_max: u64 = 16,
        /// and how many more wait for their turn, which goes round among clients,
        queue_max: u64 = 64,
        /// and for how long; the rest is told to come back.
        queue_wait: Span = Span::seconds(2),
        /// How old a value may be to count as current in PromQL, where a query does not say.
        lookback_delta: Span = Span::seconds(300),
        /// Memory for recent segments.
        head_bytes_max: u64 = 256 << 20,
        /// At which intervals metrics come that come seldom, by name, such as `{ level = "1h" }`: their values are
        /// current for a quarter longer than that.
        intervals: BTreeMap<String, Span> = BTreeMap::new(),
    }
}

section! {
    /// `[http]`
    RawHttp {
        /// Where to listen.
        bind: String = "127.0.0.1:9470".to_owned(),
        /// Whether an address that other machines reach may be bound while there is no authentication.
        insecure_allow_remote: bool = false,
        /// Connections at once.
        connections_max: u64 = 1_024,
        /// How long a client may take to send its headers.
        header_timeout: Span = Span::seconds(10),
        /// Bytes of a request's body.
        body_bytes_max: u64 = 1 << 20,
    }
}

section! {
    /// `[log]`
    RawLog {
        /// How lines look.
        format: RawLogFormat = RawLogFormat::Text,
        /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,tidemill_ingest=debug`.
        level: String = "info".to_owned(),
    }
}
