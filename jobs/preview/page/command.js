// The command that does to all files what the page shows for one.

/** Return the command, without flags that have their default. `exhibit`: values from the server. `look`: settings. */
export function command(exhibit, { iterations, strength, estimate, network }) {
  const src = exhibit.src.startsWith("-") ? `./${exhibit.src}` : exhibit.src; // not to be taken for a flag
  const words = ["nightlift", exhibit.job, src, "OUT"];
  if (iterations !== 8) words.push("--iterations", String(iterations));
  if (strength !== 1) words.push("--strength", String(strength));
  if (estimate !== "auto") words.push("--estimate-size", estimate);
  if (!exhibit.shipped.includes(network)) words.push("--weights", network);
  else if (network !== exhibit.shipped[0]) words.push("--variant", network);
  return [...words, ...exhibit.flags].map(quoted).join(" ");
}

function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}
