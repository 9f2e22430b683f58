/** The figures below the picture, once a second. */
import type { Broadcast, Signals } from "@moq/publish";
import { element } from "../dom";
import { bitrate, channels, codecName, row } from "../figure";
import type { Uplink } from "./uplink";

export function figures(scope: Signals.Effect, broadcast: Broadcast, uplink: Uplink): void {
	const list = element("figures", HTMLDListElement);
	const show = () => {
		const session = uplink.connection.established.peek();
		const picture = broadcast.video.hd.resolved.peek();
		const sound = broadcast.audio.config.peek();
		const size = picture && `${picture.width} × ${picture.height}, ${Math.round(picture.framerate ?? 0)} frames/s`;
		const free = session?.sendBandwidth?.peek();
		list.replaceChildren(
			row("Picture", picture && codecName(picture.codec), picture?.codec, size),
			row("Sound", sound && codecName(sound.codec), sound && channels(sound.numberOfChannels)),
			row("Connection", session?.version, free ? `room for ${bitrate(free / 8)}` : undefined),
		);
	};
	scope.interval(show, 1000);
	show();
}
