use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::{CheckpointHarness, SinkHarness, SourceHarness, Verdict, Violation};

type Run<H> = for<'a> fn(&'a mut H) -> Pin<Box<dyn Future<Output = Verdict> + 'a>>;

/// One rule of a port's contract, for callers that run the suite by themselves.
pub struct Rule<H: ?Sized> {
    name: &'static str,
    sentence: &'static str,
    run: Run<H>,
}

impl<H: ?Sized> Rule<H> {
    /// Returns the name, which begins with the number of the rule in the contract: `s01_…`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the rule as one sentence.
    pub fn sentence(&self) -> &'static str {
        self.sentence
    }

    /// Judges one implementation by this rule. The harness is fresh, and used up afterwards.
    ///
    /// # Errors
    /// The violation found.
    pub async fn judge(&self, harness: &mut H) -> Verdict {
        (self.run)(harness).await.map_err(|v| v.of(self.name))
    }
}

impl<H: ?Sized> fmt::Debug for Rule<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("name", &self.name).field("sentence", &self.sentence).finish()
    }
}

/// Runs one stamped test on a runtime of its own.
///
/// # Errors
/// The violation found, under the name of the rule.
#[doc(hidden)]
pub fn run_rule(rule: &'static str, test: impl Future<Output = Verdict>) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(test),
        Err(e) => Err(Violation::new(format!("cannot start a runtime: {e}"))),
    }
    .map_err(|v| v.of(rule))
}

/// Every rule of the [`Source`](crate::Source) contract.
pub const SOURCE_RULES: &[Rule<dyn SourceHarness>] =
    crate::__source_rules!(__list_rules! source_rules;);

/// Every rule of the [`Sink`](crate::Sink) contract.
pub const SINK_RULES: &[Rule<dyn SinkHarness>] = crate::__sink_rules!(__list_rules! sink_rules;);

/// Every rule of the [`Checkpoint`](crate::Checkpoint) contract.
pub const CHECKPOINT_RULES: &[Rule<dyn CheckpointHarness>] =
    crate::__checkpoint_rules!(__list_rules! checkpoint_rules;);

/// The one list of the source's rules: everything else is made of it.
#[doc(hidden)]
#[macro_export]
macro_rules! __source_rules {
    ($with:ident! $($args:tt)*) => { $crate::$with! { $($args)*
        s01_reads_every_record_exactly_once
            "From no cursor, every record there is arrives exactly once, and so do new ones.",
        s02_gives_the_same_record_the_same_id_and_bytes
            "The same record has the same id and the same bytes each time it is read.",
        s03_goes_on_from_every_cursor_it_returned
            "From any cursor it ever returned, exactly the records behind that cursor follow.",
        s04_goes_on_in_another_process
            "A cursor says it all, through its JSON text and in a new instance.",
        s04_refuses_a_foreign_or_newer_cursor
            "A cursor of another source or a newer version is an error, never a new start.",
        s05_keeps_to_max_events
            "A read returns at most max_events records, good and bad together.",
        s05_keeps_to_max_bytes
            "A read stops at max_bytes; a record larger than that comes alone.",
        s05_keeps_to_max_wait
            "A read of an upstream with nothing new returns within max_wait.",
        s06_loses_no_equal_timestamps_between_batches
            "Records with equal timestamps are not lost at the edge between two batches.",
        s07_finds_a_late_record_once
            "A record that appears behind the position already read is found, once.",
        s08_loses_nothing_when_a_read_is_dropped
            "A read may be dropped at any await; after open nothing is missing.",
        s09_reports_a_failure_with_its_kind
            "A failure has the kind and retry class that fit it, and is never an empty read.",
        s09_hands_on_bad_records_without_holding_up_others
            "A bad record is handed on as rejected, once, and its neighbours arrive.",
        s10_reads_the_same_however_often_committed_is_called
            "`committed` never changes what is read next, also repeated, skipped or not called.",
    } };
}

/// The one list of the sink's rules.
#[doc(hidden)]
#[macro_export]
macro_rules! __sink_rules {
    ($with:ident! $($args:tt)*) => { $crate::$with! { $($args)*
        k01_keeps_what_it_reported_as_written
            "When `write` returns, every event is durable, also when the process dies at once.",
        k02_writes_an_event_again_without_effect
            "Writing an event again has no second effect, also after a restart.",
        k03_keeps_the_payload_byte_for_byte
            "The payload arrives byte for byte.",
        k04_names_a_failed_event_and_keeps_its_neighbours
            "A failed event is named by its index, and its neighbours are durable all the same.",
        k05_survives_a_write_that_failed_as_a_whole
            "After `Err` the same events are sent again, and none is lost or doubled.",
        k06_gives_each_failure_its_kind
            "Each failure has the kind and retry class that fit it.",
        k07_sends_nothing_for_nothing
            "An empty slice is `Ok` and sends nothing.",
        k08_keeps_the_order_of_a_key
            "Events of one key keep their order.",
        k09_keeps_a_payload_with_line_breaks_one_record
            "A line break inside a payload does not make two records.",
        k10_shows_no_secret
            "No secret shows in `Debug` or `Display` of sink, configuration or errors.",
    } };
}

/// The one list of the checkpoint's rules.
#[doc(hidden)]
#[macro_export]
macro_rules! __checkpoint_rules {
    ($with:ident! $($args:tt)*) => { $crate::$with! { $($args)*
        c01_knows_no_unknown_stream
            "An unknown stream loads as `None`.",
        c02_loads_what_was_saved
            "What was saved loads unchanged, also by another instance.",
        c03_refuses_a_stale_or_missing_revision
            "A save after a stale or missing revision is a conflict and changes nothing.",
        c04_lets_one_of_two_racing_saves_win
            "Of saves that race after the same revision, exactly one wins.",
        c05_keeps_the_old_or_the_new_value_when_killed
            "A process killed at any point of a save leaves the old or the new value, whole.",
        c06_refuses_a_cut_off_value
            "A cut-off value is an error, never `None`.",
        c06_refuses_a_value_with_a_flipped_bit
            "A value with a flipped bit is an error, never another position.",
        c06_refuses_an_empty_value
            "An empty value is an error, never `None`.",
        c06_refuses_a_newer_value
            "A value written by a newer version is an error, never `None`.",
        c07_keeps_streams_apart
            "Streams do not see each other.",
        c08_fails_where_it_cannot_write
            "A place that cannot be written fails the first save.",
    } };
}

/// Stamps the conformance suite of a port: one named test for each rule of its contract.
///
/// `start` is an async function, or a closure that returns a future, which starts a harness. It is
/// called once a test. Two suites in one file go into two modules, since the tests' names are those
/// of the rules.
///
/// A rule that cannot apply to an adapter is named, with the reason, after `except`. Its test is
/// then listed as ignored with that reason; it never passes unrun.
///
/// ```
/// mod history {
///     use audit_core::testkit::MemoryUpstream;
///
///     async fn start() -> MemoryUpstream {
///         MemoryUpstream::history()
///     }
///     audit_core::conformance!(source: start);
/// }
///
/// mod partitions {
///     use audit_core::testkit::MemoryUpstream;
///
///     audit_core::conformance!(
///         source: async || MemoryUpstream::partitions(3),
///         except: {
///             s07_finds_a_late_record_once: "a log is only ever appended to",
///         }
///     );
/// }
/// # fn main() {}
/// ```
///
/// An exception that names no rule does not compile:
///
/// ```compile_fail
/// use audit_core::testkit::MemoryUpstream;
///
/// audit_core::conformance!(
///     source: async || MemoryUpstream::history(),
///     except: {
///         s07_finds_a_late_record_sometimes: "a slip of the pen",
///     }
/// );
/// ```
#[macro_export]
macro_rules! conformance {
    ($port:ident: $start:expr $(,)?) => {
        $crate::conformance!(@$port $start; {};);
    };
    ($port:ident: $start:expr, except: { $($except:tt)* } $(,)?) => {
        $crate::conformance!(@$port $start; {}; $($except)*);
    };
    // The exceptions become a nested list, one at a time.
    (@$port:ident $start:expr; $list:tt; $rule:ident: $reason:literal $(, $($more:tt)*)?) => {
        $crate::conformance!(@$port $start; {$rule $reason $list}; $($($more)*)?);
    };
    (@source $start:expr; $list:tt;) => {
        $crate::__source_rules!(__stamp_rules! source_rules, $start, $list;);
    };
    (@sink $start:expr; $list:tt;) => {
        $crate::__sink_rules!(__stamp_rules! sink_rules, $start, $list;);
    };
    (@checkpoint $start:expr; $list:tt;) => {
        $crate::__checkpoint_rules!(__stamp_rules! checkpoint_rules, $start, $list;);
    };
}

/// Stamps each rule of a list as a test.
#[doc(hidden)]
#[macro_export]
macro_rules! __stamp_rules {
    ($module:ident, $start:expr, $except:tt; $($rule:ident $sentence:literal,)*) => {
        $crate::__check_exceptions!($module $except);
        $($crate::__stamp_rule!($module, $start, $except; $rule $sentence);)*
    };
}

/// Fails to compile when an exception names no rule.
#[doc(hidden)]
#[macro_export]
macro_rules! __check_exceptions {
    ($module:ident {}) => {};
    ($module:ident { $rule:ident $reason:literal $rest:tt }) => {
        const _: fn() = || {
            let _known = $crate::testkit::$module::$rule;
        };
        $crate::__check_exceptions!($module $rest);
    };
}

/// Stamps one rule as a test, ignored if it is among the exceptions.
///
/// The helper macro inside compares names: its first arm holds this rule's.
#[doc(hidden)]
#[macro_export]
macro_rules! __stamp_rule {
    ($module:ident, $start:expr, $except:tt; $rule:ident $sentence:literal) => {
        macro_rules! $rule {
                    ({ $rule $reason:literal $rest:tt }) => {
                        $crate::__stamp_test!(#[ignore = $reason] $module, $start; $rule $sentence);
                    };
                    ({ $other:ident $reason:literal $rest:tt }) => {
                        $rule!($rest);
                    };
                    ({}) => {
                        $crate::__stamp_test!($module, $start; $rule $sentence);
                    };
                }
        $rule!($except);
    };
}

/// The test itself.
#[doc(hidden)]
#[macro_export]
macro_rules! __stamp_test {
    ($(#[$ignore:meta])? $module:ident, $start:expr; $rule:ident $sentence:literal) => {
        #[doc = $sentence]
        #[test]
        $(#[$ignore])?
        fn $rule() {
            let verdict = $crate::testkit::run_rule(stringify!($rule), async {
                let mut harness = ($start)().await;
                $crate::testkit::$module::$rule(&mut harness).await
            });
            if let Err(violation) = verdict {
                panic!("{violation}\n  the rule: {}", $sentence);
            }
        }
    };
}

/// Makes the list of rules that a program can go through.
#[doc(hidden)]
#[macro_export]
macro_rules! __list_rules {
    ($module:ident; $($rule:ident $sentence:literal,)*) => {
        &[$($crate::testkit::Rule {
            name: stringify!($rule),
            sentence: $sentence,
            run: |harness| Box::pin($crate::testkit::$module::$rule(harness)),
        }),*]
    };
}
