//! Deleting, undeleting and destroying versions.

use super::{Answer, Endpoint, KvV2, metadata_key, version_key};
use crate::framework::Call;
use crate::logical::{Error, Write};

impl KvV2 {
    /// `DELETE data/<key>`: marks the newest version deleted.
    pub(super) async fn delete_newest(&self, key: &str) -> Answer {
        let _lock = self.locks.lock(key).await;
        let Some(mut info) = self.key_info(key)? else {
            return Ok(None);
        };
        let now = self.system.now();
        match info.versions.get_mut(&info.current) {
            Some(version) if !version.is_gone(now) => version.deletion = Some(now),
            _ => return Ok(None),
        }
        self.view.put_json(&metadata_key(key), &info).await?;
        Ok(None)
    }

    /// `delete/<key>`: marks versions deleted.
    pub(super) async fn delete_versions(&self, call: &Call<'_, Endpoint>) -> Answer {
        let (key, numbers) = (call.path_field("path"), sent_versions(call)?);
        let _lock = self.locks.lock(key).await;
        let Some(mut info) = self.key_info(key)? else {
            return Ok(None);
        };
        let now = self.system.now();
        for number in numbers {
            if let Some(version) = info.versions.get_mut(&number)
                && !version.is_gone(now)
            {
                version.deletion = Some(now);
            }
        }
        self.view.put_json(&metadata_key(key), &info).await?;
        Ok(None)
    }

    /// `undelete/<key>`: makes deleted versions readable; their life begins anew.
    pub(super) async fn undelete_versions(&self, call: &Call<'_, Endpoint>) -> Answer {
        let (key, numbers) = (call.path_field("path"), sent_versions(call)?);
        let settings = self.settings()?;
        let _lock = self.locks.lock(key).await;
        let Some(mut info) = self.key_info(key)? else {
            return Ok(None);
        };
        let deletion = info.deletion_time(self.system.now(), &settings);
        for number in numbers {
            if let Some(version) = info.versions.get_mut(&number)
                && !version.destroyed
            {
                version.deletion = deletion;
            }
        }
        self.view.put_json(&metadata_key(key), &info).await?;
        Ok(None)
    }

    /// `destroy/<key>`: removes the values of versions for good.
    pub(super) async fn destroy_versions(&self, call: &Call<'_, Endpoint>) -> Answer {
        let (key, numbers) = (call.path_field("path"), sent_versions(call)?);
        let _lock = self.locks.lock(key).await;
        let Some(mut info) = self.key_info(key)? else {
            return Ok(None);
        };
        let mut writes = Vec::new();
        for number in numbers {
            if let Some(version) = info.versions.get_mut(&number) {
                version.destroyed = true;
                writes.push(Write::delete(version_key(key, number)));
            }
        }
        writes.push(Write::put_json(metadata_key(key), &info)?);
        self.view.batch(writes).await?;
        Ok(None)
    }
}

/// The numbers in `versions`: a list, or text with commas.
fn sent_versions(call: &Call<'_, Endpoint>) -> Result<Vec<u64>, Error> {
    let fields = call.fields();
    let texts = fields.comma_strings("versions")?.unwrap_or_default();
    if texts.is_empty() {
        let what = if call.endpoint == Endpoint::Destroy { "no" } else { "No" };
        return Err(Error::bad_request(format!("{what} version number provided")));
    }
    texts
        .iter()
        .enumerate()
        .map(|(at, text)| {
            // A negative number is no version: it is passed over like any unknown one.
            text.parse::<i64>().map(|number| u64::try_from(number).unwrap_or(0)).map_err(|_| {
                let why = "cannot parse value as 'int': strconv.ParseInt: invalid syntax";
                let list = "decoding failed due to the following error(s):";
                fields.refused("versions", &format!("{list}\n\n'[{at}]' {why}"))
            })
        })
        .collect()
}
