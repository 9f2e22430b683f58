//! The catalog tracks of a broadcast: one catalog in each of its wire forms.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    media::catalog::{Catalog, deflate, hang, msf},
    net::{
        error::Result,
        publish::{Broadcast, CATALOG_PRIORITY, TrackOptions, TrackWriter, WriteError},
    },
};

/// How long the newest catalog but one is kept.
const AGE: Duration = Duration::from_secs(5);

/// Which ones are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forms {
    /// `catalog.json` and its compressed twin.
    pub hang: bool,
    /// `catalog`
    pub msf: bool,
}

#[derive(Clone, Copy)]
enum Form {
    Hang,
    Compressed,
    Msf,
}

impl Form {
    fn track(self) -> &'static str {
        match self {
            Self::Hang => hang::TRACK,
            Self::Compressed => hang::COMPRESSED_TRACK,
            Self::Msf => msf::TRACK,
        }
    }

    /// Each update is a group of one frame, so that a DEFLATE stream begins with it.
    fn write(self, catalog: &Catalog) -> Bytes {
        match self {
            Self::Hang => hang::write(catalog),
            Self::Compressed => deflate::Encoder::default().encode(&hang::write(catalog)),
            Self::Msf => msf::write(catalog),
        }
    }
}

pub(super) struct Catalogs(Vec<(Form, TrackWriter)>);

impl Catalogs {
    /// Their tracks, with nothing in them.
    ///
    /// # Errors
    /// Those of [`Broadcast::track`].
    pub fn create(broadcast: &Broadcast, forms: Forms) -> Result<Self> {
        let options = TrackOptions {
            priority: CATALOG_PRIORITY,
            max_age: AGE,
            timely: false,
        };
        let hang = [Form::Hang, Form::Compressed].into_iter();
        let hang = hang.filter(|_| forms.hang);
        let msf = forms.msf.then_some(Form::Msf);
        let tracks = hang
            .chain(msf)
            .map(|form| Ok((form, broadcast.track(form.track(), options)?)));
        tracks.collect::<Result<_>>().map(Self)
    }

    /// Says the same in all of them.
    ///
    /// # Errors
    /// [`WriteError::Ended`]
    pub fn write(&mut self, catalog: &Catalog) -> std::result::Result<(), WriteError> {
        for (form, writer) in &mut self.0 {
            writer.write_snapshot(0, form.write(catalog))?;
        }
        Ok(())
    }
}
