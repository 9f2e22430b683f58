/** What the publishing page does at the moment. */
import type { Net, Signals } from "@moq/publish";
import * as shared from "../words";
import type { Words } from "../words";
import type { Capture } from "./capture";
import type { Uplink } from "./uplink";
import * as words from "./words";

/** For styles and tests; people read `label`. */
export type Phase = "idle" | "asking" | "connecting" | "live" | "stalled" | "problem";

export interface State {
	phase: Phase;
	label: string;
	/** Shown in place of the picture. */
	message?: Words;
	/** Shown beside the picture. */
	note?: string;
}

/** What the user has asked for. */
export type Wish = "nothing" | "asked" | "started";

interface Sources {
	wish: Signals.Getter<Wish>;
	/** Why it did not start. */
	refusal: Signals.Getter<Words | undefined>;
	capture: Capture;
	uplink: Uplink;
	name: Signals.Getter<string>;
}

export function publisherState(effect: Signals.Effect, { wish, refusal, capture, uplink, name }: Sources): State {
	const now = effect.get(wish);
	const refused = effect.get(refusal);
	if (now === "asked") return { phase: "asking", label: "", message: words.asking };
	if (now === "nothing") {
		return refused ? { phase: "problem", label: "Not started", message: refused } : { phase: "idle", label: "", message: words.idle };
	}
	const trouble = effect.get(uplink.problem);
	if (trouble) return { phase: "problem", label: "No connection", message: trouble };
	const session: Net.Connection.Established | undefined = effect.get(uplink.connection.established);
	if (!session) return { phase: "connecting", label: "Connecting", message: shared.connecting };
	const message = effect.get(capture.picture) ? undefined : words.soundOnly;
	const ended = effect.get(capture.ended) ?? refused?.title;
	if (!effect.get(capture.picture) && !effect.get(capture.sound)) {
		return { phase: "stalled", label: "Nothing to send", message: words.nothingChosen, note: ended };
	}
	if (effect.get(uplink.listed) === false) {
		return { phase: "stalled", label: "Not listed", message, note: words.unlisted(effect.get(name)) };
	}
	return { phase: "live", label: "Live", message, note: ended };
}
