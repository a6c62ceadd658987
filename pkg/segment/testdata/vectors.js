// Makes vectors.json, see README.md.
const { SegmentedMessage } = require('sms-segments-calculator');
const out = [];
const seen = new Set();
function add(text) {
  if (seen.has(text)) return; seen.add(text);
  const m = new SegmentedMessage(text);
  const gsm = m.encodingName === 'GSM-7';
  // numberOfCharacters counts graphemes in UCS-2; units are UTF-16 units
  const units = gsm ? m.numberOfCharacters : text.length;
  out.push({ text, encoding: m.encodingName, segments: m.segmentsCount, units });
}
add(''); add('a'); add('Hello, world');
const lens = [1, 69, 70, 71, 133, 134, 135, 152, 153, 154, 159, 160, 161, 200, 201, 202, 305, 306, 307, 459, 460, 1600];
for (const n of lens) { add('a'.repeat(n)); add('é'.repeat(n)); add('€'.repeat(Math.min(n, 700))); add('á'.repeat(n)); }
for (const n of [151, 152, 153, 154, 157, 158, 159, 160]) { add('a'.repeat(n) + '€'); add('a'.repeat(n) + '{}'); add('€' + 'a'.repeat(n)); add('a'.repeat(n) + '^' + 'b'.repeat(160)); }
for (const c of '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà\f^{}\\[~]|€') add('x' + c);
for (const c of ['á', 'í', 'ó', 'ú', 'ç', 'Á', 'Í', 'Ó', 'Ú', '`', '’', '“', '–', '—', '…', '\t', '\u00a0', 'ê', 'ë', 'ï', 'œ', 'ł', 'ž', 'Я', '中', 'ع', 'א', 'ไ', '😀', 'e\u0301', '\u0000', '\u200d', '\ufeff']) { add('x' + c); add(c.repeat(35)); add(c.repeat(67)); add(c.repeat(71)); }
add('Banco Norte: lo sentimos. Sus datos fueron robados. Llame al 800-555-0142, código K7QM-2XWP.');
add('Estimada María José Muñoz, le pedimos disculpas: sus datos personales fueron robados de nuestros sistemas. Llame gratis al 800-555-0142. Su código es K7QM-2XWP. Responda STOP para no recibir más mensajes.');
add('Banco Norte: lo sentimos mucho. Un intruso copio datos suyos. Llame gratis al 800-555-0142 con la clave K7QM-2XWP. Nunca pedimos claves ni datos de su tarjeta. Para no recibir mas SMS, responda STOP.');
for (const e of ['👍🏽', '👨‍👩‍👧‍👦', '🇲🇽', '❤️', '🏳️‍🌈']) { add(e); for (const n of [64, 65, 66, 67, 68, 69, 70]) add('a'.repeat(n) + e); add(('ab ' + e).repeat(20)); }
for (const n of [66, 67, 68, 69, 70, 71]) { add('ñ'.repeat(n - 1) + '中'); add('a'.repeat(n) + '\r\n' + 'á'); add('á' + 'a'.repeat(n - 2) + '😀' + 'b'.repeat(70)); add('á' + 'e\u0301'.repeat(n)); }
add('a\r\nb'); add('a'.repeat(159) + '\r\n'); add('a'.repeat(152) + '\r\n' + 'b'.repeat(20));
process.stdout.write('[\n' + out.map(o => JSON.stringify(o)).join(',\n') + '\n]\n');
