"""Who is who: admits devices by tokens, signs and revokes their certificates, says who may what."""
