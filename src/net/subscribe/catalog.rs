//! The catalog of a broadcast, in whichever form it has, followed.
//!
//! Forms are asked for in the order in which they are likely. The next one is asked for when one is refused, cannot be read,
//! or has said nothing for a moment, and beside it: publishers differ in whether they refuse a track that they do not have. The
//! first form that gives a catalog is the one that is followed.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::sleep_until,
};

use super::reader::{BroadcastReader, GroupReader, TrackReader};
use crate::{
    media::catalog::{Catalog, CatalogError, Skipped, deflate, hang, msf},
    net::{
        error::{Cause, Error, Result},
        publish::CATALOG_PRIORITY,
    },
};

/// How far behind a catalog may be and still be of use.
const MAX_AGE: Duration = Duration::from_secs(5);

/// How long a form is waited for before the next one is asked for beside it: a refusal comes after a round trip, or two
/// through a relay.
const HEAD_START: Duration = Duration::from_millis(300);

/// Which forms of a catalog are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CatalogFormat {
    /// Whatever there is, beginning with what the name of the broadcast suggests.
    #[default]
    Auto,
    /// `catalog.json`, or its compressed twin.
    Hang,
    /// `catalog`
    Msf,
}

impl CatalogFormat {
    fn forms(self, broadcast: &str) -> VecDeque<Form> {
        match self {
            Self::Hang => [Form::Hang, Form::Compressed].into(),
            Self::Msf => [Form::Msf].into(),
            Self::Auto if broadcast.ends_with(".msf") => {
                [Form::Msf, Form::Hang, Form::Compressed].into()
            }
            Self::Auto => [Form::Hang, Form::Compressed, Form::Msf].into(),
        }
    }
}

/// A track that a catalog may be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Hang,
    Compressed,
    Msf,
}

impl Form {
    const fn track(self) -> &'static str {
        match self {
            Self::Hang => hang::TRACK,
            Self::Compressed => hang::COMPRESSED_TRACK,
            Self::Msf => msf::TRACK,
        }
    }
}

/// What became of a form.
enum Told {
    /// The publisher has the track.
    Answered,
    /// A catalog, or why it cannot be used: the next one may be better.
    Catalog(Result<Arc<Catalog>>),
    /// There is nothing more of it: the publisher finished it, or why it is not to be had.
    Over(Option<Error>),
}

type Teller = mpsc::Sender<(Form, Told)>;

/// Reads the newest catalog and every change of it.
pub(in crate::net) struct Catalogs {
    broadcast: BroadcastReader,
    /// Not asked for yet.
    left: VecDeque<Form>,
    /// Those that are being read.
    asked: Vec<(Form, AbortHandle)>,
    tasks: JoinSet<()>,
    told: (Teller, mpsc::Receiver<(Form, Told)>),
    /// When the next form is asked for, if none has given a catalog by then.
    next_at: Instant,
    followed: Option<Form>,
    answered: bool,
    /// Why the likeliest form that failed did.
    failure: Option<Error>,
}

impl Catalogs {
    /// `name` is that of the broadcast.
    pub(in crate::net) fn new(
        broadcast: BroadcastReader,
        name: &str,
        format: CatalogFormat,
    ) -> Self {
        Self {
            broadcast,
            left: format.forms(name),
            asked: Vec::new(),
            tasks: JoinSet::new(),
            // A catalog that is not taken yet is a reason not to read the next.
            told: mpsc::channel(1),
            next_at: Instant::now(),
            followed: None,
            answered: false,
            failure: None,
        }
    }

    /// The publisher has at least one of the tracks.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    /// The next catalog; `None` when the publisher finished it. Cancel safe.
    ///
    /// # Errors
    /// `catalog` for one that cannot be used, after which the next one may still come; everything else ends it.
    pub(in crate::net) async fn next(&mut self) -> Result<Option<Arc<Catalog>>> {
        loop {
            let is_searching = self.followed.is_none();
            if is_searching && self.asked.is_empty() && !self.ask_next() {
                return Err(self.failure.take().unwrap_or_else(|| {
                    Error::new(
                        Cause::NoBroadcast,
                        "the publisher ended the catalog unwritten",
                    )
                }));
            }
            let is_more = is_searching && !self.left.is_empty();
            tokio::select! {
                Some((form, told)) = self.told.1.recv() => match told {
                    // Said before it was let go.
                    _ if self.followed.is_some_and(|followed| followed != form) => {}
                    Told::Answered => self.answered = true,
                    Told::Catalog(Ok(catalog)) => {
                        self.follow(form);
                        return Ok(Some(catalog));
                    }
                    Told::Catalog(Err(err)) => {
                        if is_searching {
                            self.ask_next();
                        }
                        return Err(err);
                    }
                    Told::Over(end) if self.followed == Some(form) => return end.map_or(Ok(None), Err),
                    Told::Over(end) => {
                        self.asked.retain(|(asked, _)| *asked != form);
                        self.failure = self.failure.take().or(end);
                        self.ask_next();
                    }
                },
                () = sleep_until(self.next_at.into()), if is_more => {
                    self.ask_next();
                }
            }
        }
    }

    /// False if every form has been asked for.
    fn ask_next(&mut self) -> bool {
        let Some(form) = self.left.pop_front() else {
            return false;
        };
        let read = read(self.broadcast.clone(), form, self.told.0.clone());
        self.asked.push((form, self.tasks.spawn(read)));
        self.next_at = Instant::now() + HEAD_START;
        true
    }

    /// The others are not needed any more.
    fn follow(&mut self, form: Form) {
        if self.followed.is_some() {
            return;
        }
        self.followed = Some(form);
        self.left.clear();
        for (other, task) in self.asked.drain(..) {
            if other != form {
                task.abort();
            }
        }
    }
}

/// Reads one form until it ends.
async fn read(broadcast: BroadcastReader, form: Form, told: Teller) {
    let track = broadcast.track(form.track(), CATALOG_PRIORITY, MAX_AGE);
    let end = match track.await {
        Ok(track) => {
            if told.send((form, Told::Answered)).await.is_err() {
                return;
            }
            read_catalogs(Reader::new(form, track), form, &told).await
        }
        Err(err) => Some(err),
    };
    // Nobody waits for it when this fails.
    let _ = told.send((form, Told::Over(end))).await;
}

/// Why it ended, if the publisher did not mean it.
async fn read_catalogs(mut reader: Reader, form: Form, told: &Teller) -> Option<Error> {
    loop {
        let catalog = match reader.next().await {
            Ok(Some(catalog)) => Ok(catalog),
            Ok(None) => return None,
            Err(err) if err.cause == Cause::Catalog => Err(err),
            Err(err) => return Some(err),
        };
        if told.send((form, Told::Catalog(catalog))).await.is_err() {
            return None;
        }
    }
}

/// The catalogs of one track.
struct Reader {
    track: TrackReader,
    group: Option<GroupReader>,
    form: Form,
    state: State,
    newest: Option<u64>,
    frames: u64,
}

/// A group as far as it was read.
enum State {
    Hang(hang::Snapshot),
    Compressed(deflate::Decoder, hang::Snapshot),
    Msf(msf::Snapshot),
}

impl State {
    fn new(form: Form) -> Self {
        match form {
            Form::Hang => Self::Hang(hang::Snapshot::default()),
            Form::Compressed => {
                Self::Compressed(deflate::Decoder::default(), hang::Snapshot::default())
            }
            Form::Msf => Self::Msf(msf::Snapshot::default()),
        }
    }

    fn apply(
        &mut self,
        index: u64,
        frame: &[u8],
    ) -> std::result::Result<(Catalog, Vec<Skipped>), CatalogError> {
        match self {
            Self::Hang(snapshot) => snapshot.apply(index, frame),
            Self::Compressed(inflate, snapshot) => {
                let frame = inflate.decode(frame)?;
                snapshot.apply(index, &frame)
            }
            Self::Msf(snapshot) => snapshot.apply(index, frame),
        }
    }
}

impl Reader {
    fn new(form: Form, track: TrackReader) -> Self {
        Self {
            track,
            group: None,
            form,
            state: State::new(form),
            newest: None,
            frames: 0,
        }
    }

    /// The next catalog; `None` when the publisher finished it.
    async fn next(&mut self) -> Result<Option<Arc<Catalog>>> {
        loop {
            tokio::select! {
                biased;
                group = self.track.next_group() => match group? {
                    // Groups may overtake each other; only the newest counts.
                    Some(group) if self.newest.is_none_or(|newest| group.sequence() > newest) => {
                        self.newest = Some(group.sequence());
                        self.state = State::new(self.form);
                        self.frames = 0;
                        self.group = Some(group);
                    }
                    Some(_) => {}
                    None if self.group.is_none() => return Ok(None),
                    None => return self.read_rest().await,
                },
                frame = next_frame(&mut self.group) => match frame {
                    Some(frame) => return self.apply(&frame).map(Some),
                    None => self.group = None,
                },
            }
        }
    }

    /// The track is finished, its last group is still read.
    async fn read_rest(&mut self) -> Result<Option<Arc<Catalog>>> {
        match next_frame(&mut self.group).await {
            Some(frame) => self.apply(&frame).map(Some),
            None => {
                self.group = None;
                Ok(None)
            }
        }
    }

    fn apply(&mut self, frame: &[u8]) -> Result<Arc<Catalog>> {
        let index = self.frames;
        self.frames += 1;
        let track = self.form.track();
        let (catalog, skipped) = self.state.apply(index, frame).map_err(|err| {
            let told = format!("the catalog of track '{track}' cannot be used: {err}");
            Error::new(Cause::Catalog, told)
        })?;
        for skipped in skipped {
            tracing::warn!(track = %skipped.track, reason = %skipped.reason, "rendition ignored");
        }
        Ok(Arc::new(catalog))
    }
}

/// The next frame of a group that is there; a group that breaks off counts as ended.
async fn next_frame(group: &mut Option<GroupReader>) -> Option<Bytes> {
    match group {
        Some(group) => group.next_frame().await.ok(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
