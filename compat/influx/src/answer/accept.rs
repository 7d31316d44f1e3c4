/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// The default.
    #[default]
    Json,
    /// `text/csv` or `application/csv`.
    Csv,
    /// `application/x-msgpack`.
    MsgPack,
}

impl Format {
    /// What an `Accept` header asks for: the known type with the highest quality, the first of equals;
    /// JSON if there is none.
    pub fn from_accept(accept: &str) -> Self {
        let mut best = (0.0, Format::Json);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or("") {
                "application/json" | "application/*" | "*/*" => Format::Json,
                "application/csv" | "text/csv" | "text/*" => Format::Csv,
                "application/x-msgpack" => Format::MsgPack,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse::<f32>().ok());
            if quality.is_some_and(|quality| quality > best.0) {
                best = (quality.unwrap_or(0.0), format);
            }
        }
        best.1
    }

    /// The `Content-Type` to answer with.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Csv => "text/csv",
            Format::MsgPack => "application/x-msgpack",
        }
    }
}
